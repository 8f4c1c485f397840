//! The private cluster.

use std::{
    ffi::OsStr,
    process::{Command, Stdio},
};

use pv_database::{Cluster, ClusterError, ClusterOptions, PgConnection, cluster::ADMIN};
use sqlx::{Connection, Executor};

use crate::folders::{Folder, throw_away};

async fn connect(cluster: &Cluster, database: &str) -> PgConnection {
    PgConnection::connect(&cluster.url(database, ADMIN)).await.unwrap()
}

async fn text(conn: &mut PgConnection, sql: &'static str) -> String {
    sqlx::query_scalar(sql).fetch_one(conn).await.unwrap()
}

#[tokio::test]
async fn a_cluster_is_made_reused_stopped_and_found_again_with_its_data() {
    let mut folder = Folder::new("reuse");
    let dir = folder.path.join("database");
    let first = folder.start(&dir);
    let second = folder.start(&dir);
    assert_eq!(first.url("x", "y"), second.url("x", "y"));
    assert_eq!(first.note(), None);

    let (one, two) = tokio::join!(first.ensure_database("payvault"), second.ensure_database("payvault"));
    one.unwrap();
    two.unwrap();
    first.ensure_database("payvault").await.unwrap();
    let mut conn = connect(&first, "payvault").await;
    conn.execute("create table kept (n int)").await.unwrap();
    assert_eq!(text(&mut conn, "show listen_addresses").await, "");
    assert_eq!(text(&mut conn, "show timezone").await, "UTC");
    assert_eq!(text(&mut conn, "show max_connections").await, "200");
    drop(conn);

    first.stop().unwrap();
    first.stop().unwrap();
    assert!(PgConnection::connect(&first.url("payvault", ADMIN)).await.is_err());
    let again = folder.start(&dir);
    assert_eq!(text(&mut connect(&again, "payvault").await, "select count(*)::text from kept").await, "0");
}

#[tokio::test]
async fn a_cluster_is_durable_unless_told_otherwise() {
    let folder = Folder::new("durable");
    let cluster = Cluster::find_or_start(&folder.path.join("database")).unwrap();
    let mut conn = connect(&cluster, "postgres").await;
    let mut said = Vec::new();
    for name in ["fsync", "synchronous_commit", "full_page_writes", "data_checksums"] {
        let value: String = sqlx::query_scalar("select current_setting($1)").bind(name).fetch_one(&mut conn).await.unwrap();
        said.push(value);
    }
    drop(conn);
    cluster.stop().unwrap();
    assert_eq!(said, ["on", "on", "on", "on"]);
}

#[test]
fn the_socket_folder_is_closed_to_other_users() {
    use std::os::unix::fs::PermissionsExt;
    let mut folder = Folder::new("closed");
    let cluster = folder.start(&folder.path.join("database"));
    for dir in [cluster.dir(), cluster.socket_dir()] {
        assert_eq!(std::fs::metadata(dir).unwrap().permissions().mode() & 0o777, 0o700, "{}", dir.display());
    }
}

#[test]
fn two_threads_and_two_processes_that_start_at_once_get_the_same_cluster() {
    let mut folder = Folder::new("at-once");
    let dir = folder.path.join("database");
    let children: Vec<_> = (0..2)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "cluster::starts_the_cluster_named_by_its_parent", "--ignored", "--nocapture"])
                .env("PV_TEST_DIR", &dir)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let dir = dir.clone();
            std::thread::spawn(move || Cluster::find_or_start_with(&dir, throw_away()).unwrap().url("a", "b"))
        })
        .collect();
    let mut urls: Vec<String> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        urls.push(said.lines().find_map(|line| Some(line.split_once("url=")?.1.to_owned())).expect(&said));
    }
    urls.dedup();
    assert_eq!(urls.len(), 1, "{urls:?}");
    // And one server only.
    assert_eq!(folder.start(&dir).url("a", "b"), urls[0]);
}

#[test]
#[ignore = "the child of two_threads_and_two_processes_that_start_at_once_get_the_same_cluster"]
fn starts_the_cluster_named_by_its_parent() {
    let Some(dir) = std::env::var_os("PV_TEST_DIR") else {
        return;
    };
    let cluster = Cluster::find_or_start_with(dir.as_ref(), throw_away()).unwrap();
    println!("url={}", cluster.url("a", "b"));
}

#[tokio::test]
async fn a_folder_too_deep_for_a_socket_gets_a_short_socket_folder() {
    let mut folder = Folder::new("deep");
    let dir = folder.path.join("d".repeat(60)).join("e".repeat(60));
    let cluster = folder.start(&dir);
    assert!(cluster.socket_dir().as_os_str().len() < 93, "{}", cluster.socket_dir().display());
    assert_eq!(cluster.dir(), dir);
    assert_eq!(text(&mut connect(&cluster, "postgres").await, "select 'yes'").await, "yes");
}

#[tokio::test]
async fn a_name_with_spaces_and_other_letters_works() {
    let mut folder = Folder::new("spaces");
    let cluster = folder.start(&folder.path.join("my data % ũ"));
    assert_eq!(text(&mut connect(&cluster, "postgres").await, "select 'yes'").await, "yes");
}

#[tokio::test]
async fn a_stale_pid_file_that_names_a_living_stranger_is_recovered_from() {
    let mut folder = Folder::new("stale");
    let dir = folder.path.join("database");
    let cluster = folder.start(&dir);
    let pid_file = cluster.pgdata().join("postmaster.pid");
    let text_of_file = std::fs::read_to_string(&pid_file).unwrap();
    kill_nine(&text_of_file);
    // The machine was restarted and our own number was given to the old server before.
    let (_, rest) = text_of_file.split_once('\n').unwrap();
    std::fs::write(&pid_file, format!("{}\n{rest}", std::process::id())).unwrap();
    let again = folder.start(&dir);
    assert_eq!(text(&mut connect(&again, "postgres").await, "select 'yes'").await, "yes");
}

#[tokio::test]
async fn a_killed_server_is_started_again_and_what_was_committed_is_there() {
    let folder = Folder::new("killed");
    let dir = folder.path.join("database");
    let cluster = Cluster::find_or_start(&dir).unwrap();
    let mut conn = connect(&cluster, "postgres").await;
    conn.execute("create table kept as select 7 as n").await.unwrap();
    kill_nine(&std::fs::read_to_string(cluster.pgdata().join("postmaster.pid")).unwrap());
    let again = Cluster::find_or_start(&dir).unwrap();
    let kept = text(&mut connect(&again, "postgres").await, "select n::text from kept").await;
    again.stop().unwrap();
    assert_eq!(kept, "7");
}

fn kill_nine(pid_file: &str) {
    let pid = pid_file.lines().next().unwrap().trim().to_owned();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
}

#[test]
fn a_half_made_cluster_of_a_killed_process_is_made_anew() {
    let mut folder = Folder::new("half");
    let dir = folder.path.join("database");
    std::fs::create_dir_all(dir.join("pgdata.new/base")).unwrap();
    std::fs::write(dir.join("start.lock"), "").unwrap();
    std::fs::write(dir.join("pgdata.new/PG_VERSION"), "15").unwrap();
    let cluster = folder.start(&dir);
    assert!(cluster.pgdata().join("postmaster.pid").exists());
    assert!(!dir.join("pgdata.new").exists());
}

#[test]
fn a_folder_with_other_things_is_refused_and_not_touched() {
    let folder = Folder::new("foreign");
    let dir = folder.path.join("letters");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("letter.txt"), "dear").unwrap();
    let error = Cluster::find_or_start_with(&dir, throw_away()).unwrap_err();
    assert!(matches!(error, ClusterError::NotOurs { .. }), "{error}");
    let names: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [OsStr::new("letter.txt")]);
}

#[test]
fn a_folder_with_a_quote_in_its_name_is_refused() {
    let folder = Folder::new("quote");
    for name in ["it's", "a\"b", "a$b", "a\nb", "a`b", "a\\b"] {
        let error = Cluster::find_or_start_with(&folder.path.join(name), throw_away()).unwrap_err();
        assert!(matches!(error, ClusterError::BadName { .. }), "{error}");
    }
}

#[test]
fn a_machine_without_postgresql_is_told_what_to_install() {
    let folder = Folder::new("none");
    let options = ClusterOptions { pg_bin: Some(folder.path.clone()), ..throw_away() };
    let error = Cluster::find_or_start_with(&folder.path.join("database"), options).unwrap_err();
    assert!(matches!(error, ClusterError::NoBinaries { .. }));
    assert!(!error.to_string().contains('\n'));
}

#[tokio::test]
async fn root_gets_a_reachable_folder_and_is_told_where_it_is() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let mut folder = Folder::new("reach");
    if std::fs::metadata(&folder.path).unwrap().uid() != 0 {
        // An ordinary user reaches all folders of his own; nothing to do here.
        let cluster = folder.start(&folder.path.join("database"));
        assert_eq!(cluster.note(), None);
        return;
    }
    let closed = folder.path.join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
    for durable in [false, true] {
        let wanted = closed.join(if durable { "durable" } else { "throw-away" });
        let options = ClusterOptions { durable, ..ClusterOptions::default() };
        let cluster = folder.start_with(&wanted, options.clone());
        let note = cluster.note().unwrap();
        assert!(note.contains(wanted.to_str().unwrap()) && note.contains(cluster.dir().to_str().unwrap()), "{note}");
        assert!(!wanted.exists(), "nothing is made where the server cannot go");
        assert!(!durable || cluster.dir().starts_with("/var/lib"), "temporary folders are cleaned by age: {note}");
        assert_eq!(folder.start_with(&wanted, options).dir(), cluster.dir(), "the same place each time");
        assert_eq!(text(&mut connect(&cluster, "postgres").await, "select 'yes'").await, "yes");
    }
}
