//! The documents agree with the code: links lead somewhere, named files, tests, routes, tables, steps and kinds of items exist, and the
//! tables of M-Pesa's codes are those that the client uses. No database, no network.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use pv_vault::{audit::Permission, engine::Step};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// All files of the repository below a folder, as paths from its root with slashes. What is built and what git keeps is left out.
fn files() -> Vec<String> {
    fn walk(root: &Path, folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().unwrap().is_dir() {
                if !name.starts_with('.') && name != "target" {
                    walk(root, &entry.path(), found);
                }
            } else {
                found.push(entry.path().strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/"));
            }
        }
    }
    let root = root();
    let mut found = Vec::new();
    walk(&root, &root, &mut found);
    found.sort_unstable();
    found
}

fn has_end(file: &str, extension: &str) -> bool {
    Path::new(file).extension().is_some_and(|e| e == extension)
}

/// The documents: path and text.
fn documents() -> Vec<(String, String)> {
    let found: Vec<_> = files().into_iter().filter(|f| has_end(f, "md")).map(|f| (f.clone(), read(&f))).collect();
    assert!(found.len() > 20, "only {} documents were found", found.len());
    found
}

/// What stands between backticks in a line of prose, and whole lines of code blocks.
fn quoted(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if in_block {
            found.push(line.trim().to_owned());
        } else {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

/// Targets of links in prose: `](target)`.
fn links(text: &str) -> Vec<String> {
    let mut in_block = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        if !in_block {
            found.extend(line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned()));
        }
    }
    found
}

/// The anchor of a heading: lower case, spaces as dashes, no other punctuation.
fn anchor(heading: &str) -> String {
    let plain = heading.trim_start_matches('#').trim().to_lowercase();
    plain.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_')).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    text.lines().filter(|line| line.starts_with('#')).map(anchor).collect()
}

fn nothing_wrong(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_link_between_documents_leads_to_a_file_and_to_a_heading_in_it() {
    let root = root();
    let mut wrong = Vec::new();
    let mut looked_at = 0;
    for (document, text) in documents() {
        for link in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            looked_at += 1;
            let (path, heading) = link.split_once('#').map_or((link.as_str(), None), |(p, h)| (p, Some(h)));
            let here = root.join(&document);
            let target = if path.is_empty() { here } else { here.parent().unwrap().join(path) };
            if !target.exists() {
                wrong.push(format!("{document}: {link} is not there"));
            } else if let Some(heading) = heading
                && !anchors(&fs::read_to_string(&target).unwrap()).contains(heading)
            {
                wrong.push(format!("{document}: {link} names no heading"));
            }
        }
    }
    assert!(looked_at > 50, "only {looked_at} links were found");
    nothing_wrong(&wrong);
}

#[test]
fn every_file_that_the_documents_name_exists() {
    let files = files();
    let folders: BTreeSet<String> =
        files.iter().flat_map(|f| Path::new(f).ancestors().skip(1)).map(|p| format!("/{}/", p.to_string_lossy())).collect();
    // Documents name files by the end of their path: `vault/src/item/mod.rs` stands below `crates/`.
    let is_file = |path: &str| files.iter().any(|f| f == path || f.ends_with(&format!("/{path}")));
    let is_folder = |path: &str| folders.iter().any(|f| f.ends_with(&format!("/{}/", path.trim_matches('/'))));
    let mut wrong = Vec::new();
    let mut looked_at = 0;
    for (document, text) in documents() {
        for name in quoted(&text) {
            let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
            let rooted = ["crates/", "migrations/", "docs/"].iter().any(|r| name.starts_with(r));
            let source = [".rs", ".sql", ".md"].iter().any(|end| name.ends_with(end));
            if !plain || !(rooted || source) {
                continue;
            }
            looked_at += 1;
            // `migrations/0003` is short for both of its files.
            let by_number = rooted && files.iter().any(|f| f.strip_prefix(&name).is_some_and(|rest| rest.starts_with(['_', '-'])));
            let there = if rooted && !source { root().join(&name).exists() || by_number } else { is_file(&name) };
            if !there && !is_folder(&name) {
                wrong.push(format!("{document}: {name}"));
            }
        }
    }
    assert!(looked_at > 200, "only {looked_at} names of files were found");
    nothing_wrong(&wrong);
}

#[test]
fn every_test_that_the_documents_name_exists() {
    let sources: Vec<String> = files().into_iter().filter(|f| f.starts_with("crates/") && has_end(f, "rs")).collect();
    let known: BTreeSet<String> = sources
        .iter()
        .flat_map(|f| read(f).lines().filter_map(|line| line.split_once("fn ").map(|(_, rest)| rest.to_owned())).collect::<Vec<_>>())
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect())
        .collect();
    let mut wrong = Vec::new();
    let mut looked_at = 0;
    for (document, text) in documents() {
        for name in quoted(&text) {
            let a_sentence = name.matches('_').count() >= 4 && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            if a_sentence {
                looked_at += 1;
                if !known.contains(&name) {
                    wrong.push(format!("{document}: {name}"));
                }
            }
        }
    }
    assert!(looked_at > 30, "only {looked_at} names of tests were found");
    nothing_wrong(&wrong);
}

#[test]
fn the_tables_of_codes_are_those_that_the_client_uses() {
    let document = read("docs/providers/mpesa.md");
    for line in pv_daraja::codes::markdown().lines() {
        assert!(document.lines().any(|l| l == line), "docs/providers/mpesa.md lacks: {line}");
    }
    assert!(document.contains(pv_daraja::codes::markdown().trim_end()), "docs/providers/mpesa.md has the lines, and others between them");
}

#[test]
fn the_operator_guide_explains_every_kind_of_item_and_says_which_only_a_fact_closes() {
    let code = read("crates/vault/src/item/mod.rs");
    let part = |from: &str, to: &str| code.split_once(from).unwrap().1.split_once(to).unwrap().0.to_owned();
    let words = |text: &str| -> Vec<String> {
        let all = text.split('"').skip(1).step_by(2);
        all.filter(|w| !w.is_empty() && w.chars().all(|c| c.is_ascii_lowercase() || c == '_')).map(str::to_owned).collect()
    };
    let kinds = words(&part("const KINDS: &[(&str, &str, &str)] = &[", "\n];"));
    let by_facts = words(&part("const CLOSED_BY_FACTS: &[&str] =", "];"));
    assert!(kinds.len() > 25 && by_facts.len() > 3, "{kinds:?} {by_facts:?}");
    let guide = read("docs/guides/operator.md");
    let rows: Vec<&str> = guide.lines().filter(|line| line.starts_with("| `")).collect();
    let mut wrong = Vec::new();
    for kind in &kinds {
        let Some(row) = rows.iter().find(|row| row.split('|').nth(1).is_some_and(|cell| cell.contains(&format!("`{kind}`")))) else {
            wrong.push(format!("{kind} has no row"));
            continue;
        };
        if row.split('|').nth(1).is_some_and(|cell| cell.contains("**fact**")) != by_facts.contains(kind) {
            wrong.push(format!("{kind}: the guide and CLOSED_BY_FACTS disagree about a fact"));
        }
    }
    nothing_wrong(&wrong);
}

/// `/api/shortcodes/{id}/release` and `/api/shortcodes/$SHORTCODE/release` are one route.
fn shape(path: &str) -> String {
    let path = path.split(['?', '#']).next().unwrap_or_default().trim_end_matches(['.', ',', ':', ';', '/']);
    path.split('/').map(|part| if part.starts_with(['{', '$', '\'']) { "{}" } else { part }).collect::<Vec<_>>().join("/")
}

#[test]
fn every_route_of_the_api_that_the_documents_name_exists() {
    let api: serde_json::Value = serde_json::from_str(&read("docs/api/openapi.json")).unwrap();
    let mut routes: BTreeSet<(String, String)> = BTreeSet::new();
    for (path, item) in api.get("paths").and_then(|p| p.as_object()).unwrap() {
        for method in item.as_object().unwrap().keys() {
            routes.insert((method.to_uppercase(), shape(path)));
        }
    }
    // Doors for machines and the document itself are no part of the document: they are looked for in the code.
    let elsewhere: String =
        files().iter().filter(|f| f.starts_with("crates/hooks/src/") || f.starts_with("crates/api/src/")).map(|f| read(f)).collect();
    let outside = |path: &str| {
        let start = path.split(['{', '…']).next().unwrap_or_default();
        ["/api/mifos/webhook", "/api/mpesa/callback", "/api/docs", "/api/openapi.json", "/api/problems"].iter().any(|d| start.starts_with(d))
            && elsewhere.contains(&format!("\"{}", start.trim_end_matches('/')))
    };
    let mut wrong = Vec::new();
    let mut looked_at = 0;
    for (document, text) in documents() {
        for line in quoted(&text) {
            let words: Vec<&str> = line.split_whitespace().collect();
            for (at, word) in words.iter().enumerate() {
                let Some(place) = word.find("/api/").filter(|p| *p == 0 || word.starts_with("$URL")) else { continue };
                let path = shape(word.get(place..).unwrap_or_default());
                let method = at.checked_sub(1).and_then(|before| words.get(before)).filter(|w| ["GET", "POST", "PATCH", "PUT", "DELETE"].contains(w));
                looked_at += 1;
                let there = routes.iter().any(|(m, p)| *p == path && method.is_none_or(|wanted| wanted == m));
                // A family of routes is named by its beginning: `/api/mpesa/…`.
                let family = path.ends_with('…') && routes.iter().any(|(_, p)| p.starts_with(path.trim_end_matches('…')));
                if !there && !family && !outside(&path) {
                    wrong.push(format!("{document}: {} {path}", method.unwrap_or(&"")));
                }
            }
        }
    }
    assert!(looked_at > 30, "only {looked_at} routes were found");
    nothing_wrong(&wrong);
}

#[test]
fn the_architecture_names_every_table_and_every_step() {
    let architecture = read("ARCHITECTURE.md");
    let mut wrong = Vec::new();
    let mut tables = 0;
    for file in files().iter().filter(|f| f.starts_with("migrations/") && f.ends_with(".up.sql")) {
        for line in read(file).lines() {
            let Some(rest) = line.trim_start().strip_prefix("create table ") else { continue };
            let table: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            tables += 1;
            if !architecture.contains(&format!("`{table}`")) {
                wrong.push(format!("table {table} of {file}"));
            }
        }
    }
    assert!(tables > 30, "only {tables} tables were found");
    for step in Step::ALL {
        if !architecture.contains(&format!("`{}`", step.name())) {
            wrong.push(format!("step {}", step.name()));
        }
    }
    nothing_wrong(&wrong);
}

#[test]
fn every_column_that_the_documents_name_exists() {
    let sql: String = files().iter().filter(|f| f.starts_with("migrations/") && f.ends_with(".up.sql")).map(|f| read(f)).collect();
    let known: BTreeSet<String> = sql
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("create table "))
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect())
        .collect();
    let commits: String = files().iter().filter(|f| f.starts_with("crates/vault/src/") && has_end(f, "rs")).map(|f| read(f)).collect();
    let mut wrong = Vec::new();
    let mut looked_at = 0;
    for (document, text) in documents() {
        for name in quoted(&text) {
            // `payouts.sent_until`: a column, named with its table.
            let Some((table, column)) = name.split_once('.') else { continue };
            let word = |w: &str| !w.is_empty() && w.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            // `checks.rs` is a file; `limits.lease` a setting.
            if !known.contains(table) || !word(column) || column == "rs" {
                continue;
            }
            looked_at += 1;
            // `outbox.sequence` is the label of a commit, `disbursements.create` a permission.
            if commits.contains(&format!("commit_at(\"{name}\")")) || Permission::ALL.iter().any(|p| p.as_str() == name) {
                continue;
            }
            let body = sql.split_once(&format!("create table {table} (")).and_then(|(_, rest)| rest.split_once("\n);")).map(|(body, _)| body);
            if !body.is_some_and(|b| b.lines().any(|line| line.trim_start().starts_with(&format!("{column} ")))) {
                wrong.push(format!("{document}: {name}"));
            }
        }
    }
    assert!(looked_at > 10, "only {looked_at} columns were found");
    nothing_wrong(&wrong);
}
