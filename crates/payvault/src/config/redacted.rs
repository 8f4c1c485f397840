//! The settings as they are in force, for people: without what is secret in them.

use super::Settings;
use crate::failure::Result;

/// As JSON, with passwords in addresses replaced.
pub fn redacted(settings: &Settings) -> Result<serde_json::Value> {
    let mut shown = settings.clone();
    shown.database.url = shown.database.url.as_deref().map(without_password);
    let mut value = serde_json::to_value(&shown)?;
    // What was worked out from the others, so that nobody has to guess.
    if let Some(members) = value.as_object_mut() {
        let effective = serde_json::json!({
            "public_url": settings.public_url(),
            "callback_sources": settings.sources().callbacks,
            "encryption_file": settings.encryption_file(),
            "id_file": settings.id_file(),
        });
        members.insert("effective".to_owned(), effective);
    }
    Ok(value)
}

/// An address of a database without its password, wherever it stands.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return "(hidden)".to_owned();
    };
    let (before_query, query) = rest.split_once('?').map_or((rest, None), |(a, b)| (a, Some(b)));
    let before_query = match before_query.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{name}:(hidden)@{host}"),
            None => format!("{user}@{host}"),
        },
        None => before_query.to_owned(),
    };
    let query = query.map(|query| {
        let shown: Vec<String> = query
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some((name, _)) if name.to_ascii_lowercase().contains("pass") => format!("{name}=(hidden)"),
                _ => pair.to_owned(),
            })
            .collect();
        format!("?{}", shown.join("&"))
    });
    format!("{scheme}://{before_query}{}", query.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        for (url, shown) in [
            ("postgres://pv:s3cret@db.example/vault", "postgres://pv:(hidden)@db.example/vault"),
            ("postgres://pv:s3c@ret@db/vault?sslmode=require", "postgres://pv:(hidden)@db/vault?sslmode=require"),
            ("postgres://pv@db/vault?password=s3cret&a=b", "postgres://pv@db/vault?password=(hidden)&a=b"),
            ("postgres://db/vault", "postgres://db/vault"),
            ("host=db password=s3cret", "(hidden)"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
