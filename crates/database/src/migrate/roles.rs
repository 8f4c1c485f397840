//! The three roles of the database, made before the first migration.
//!
//! | role | may log in | is |
//! |---|---|---|
//! | `pv_owner` | no | the owner of all objects; migrations run as it |
//! | `pv_web` | yes, without a password | HTTP handlers: forced row-level security |
//! | `pv_worker` | yes, without a password | background steps and commands that move money, under their own policy |
//!
//! None is a superuser, none bypasses row-level security; a role that does is refused. A role without a password can log in only
//! where the server trusts the connection, which is the private cluster; elsewhere they are reached by `set role`.

use sqlx::{AssertSqlSafe, Executor, PgConnection};

use super::MigrationError;
use crate::db::{WEB_ROLE, WORKER_ROLE};

/// The owner of all objects.
pub const OWNER_ROLE: &str = "pv_owner";

/// SQL that an administrator runs, once per server and database, when our own user may not.
fn for_administrator(user: &str, database: &str) -> String {
    let (user, database) = (quoted(user), quoted(database));
    format!(
        "create role {OWNER_ROLE} nologin; create role {WEB_ROLE} login; create role {WORKER_ROLE} login; \
         grant {OWNER_ROLE}, {WEB_ROLE}, {WORKER_ROLE} to {user}; grant create on database {database} to {OWNER_ROLE}; \
         grant usage, create on schema public to {OWNER_ROLE};"
    )
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Makes what is missing, checks what is there, and leaves the session acting as the owner.
pub(super) async fn become_owner(conn: &mut PgConnection) -> Result<(), MigrationError> {
    let (user, database): (String, String) = sqlx::query_as("select session_user::text, current_database()::text").fetch_one(&mut *conn).await?;
    let rights = || MigrationError::MissingRights { user: user.clone(), sql: for_administrator(&user, &database) };
    make_roles(conn).await.map_err(|error| or_rights(error, rights))?;
    refuse_strong_roles(conn).await?;
    join_roles(conn, &user).await.map_err(|error| or_rights(error, rights))?;
    grant_places(conn, &database).await.map_err(|error| or_rights(error, rights))?;
    conn.execute(sqlx::raw_sql("set role pv_owner")).await.map_err(|error| or_rights(error, rights))?;
    Ok(())
}

fn or_rights(error: sqlx::Error, rights: impl FnOnce() -> MigrationError) -> MigrationError {
    if state(&error) == "42501" { rights() } else { MigrationError::Sql(error) }
}

fn state(error: &sqlx::Error) -> String {
    error.as_database_error().and_then(|answer| answer.code().map(std::borrow::Cow::into_owned)).unwrap_or_default()
}

async fn make_roles(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    for (role, login) in [(OWNER_ROLE, "nologin"), (WEB_ROLE, "login"), (WORKER_ROLE, "login")] {
        let exists: bool = sqlx::query_scalar("select exists (select from pg_roles where rolname = $1)").bind(role).fetch_one(&mut *conn).await?;
        if !exists {
            // Roles are the whole server's, and advisory locks are one database's: another database may be faster.
            quietly(conn, &format!("create role {role} {login}")).await?;
        }
    }
    Ok(())
}

/// Runs a statement that another session may be running too. "It exists already" is fine, however the catalogue says it, and
/// "tuple concurrently updated" is asked again.
async fn quietly(conn: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    let mut attempts_left = 20_u32;
    loop {
        let Err(error) = conn.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await else {
            return Ok(());
        };
        match state(&error).as_str() {
            // duplicate_object; unique_violation on the catalogue's index
            "42710" | "23505" => return Ok(()),
            // internal_error "tuple concurrently updated"
            "XX000" if attempts_left > 0 => {
                attempts_left -= 1;
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            _ => return Err(error),
        }
    }
}

async fn refuse_strong_roles(conn: &mut PgConnection) -> Result<(), MigrationError> {
    let strong: Vec<String> =
        sqlx::query_scalar("select rolname::text from pg_roles where rolname = any($1) and (rolsuper or rolbypassrls) order by rolname")
            .bind(vec![OWNER_ROLE, WEB_ROLE, WORKER_ROLE])
            .fetch_all(conn)
            .await?;
    if strong.is_empty() { Ok(()) } else { Err(MigrationError::RoleTooStrong { roles: strong.join(", ") }) }
}

/// Makes our user a member, so that it may act as each role. From PostgreSQL 16 on, who creates a role may grant it to himself
/// but is not a member that may act as it.
async fn join_roles(conn: &mut PgConnection, user: &str) -> Result<(), sqlx::Error> {
    for role in [OWNER_ROLE, WEB_ROLE, WORKER_ROLE] {
        let set = format!("set role {role}; reset role");
        match conn.execute(sqlx::raw_sql(AssertSqlSafe(set))).await {
            Ok(_) => {}
            Err(error) if state(&error) == "42501" => {
                quietly(conn, &format!("grant {role} to {}", quoted(user))).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The owner must be able to make objects here. Since PostgreSQL 15 that is not given to everybody in `public`.
async fn grant_places(conn: &mut PgConnection, database: &str) -> Result<(), sqlx::Error> {
    let (in_database, in_public): (bool, bool) =
        sqlx::query_as("select has_database_privilege($1, current_database(), 'CREATE'), has_schema_privilege($1, 'public', 'CREATE')")
            .bind(OWNER_ROLE)
            .fetch_one(&mut *conn)
            .await?;
    if !in_database {
        quietly(conn, &format!("grant create on database {} to {OWNER_ROLE}", quoted(database))).await?;
    }
    if !in_public {
        quietly(conn, &format!("grant usage, create on schema public to {OWNER_ROLE}")).await?;
    }
    Ok(())
}
