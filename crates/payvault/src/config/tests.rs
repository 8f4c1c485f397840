use super::*;

fn env(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A file of its own for a test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("payvault-config-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn loaded(file: Option<&Scratch>, pairs: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Result<Settings> {
    let nothing = Scratch::new(&format!("nothing-{:?}.toml", std::thread::current().id()), "");
    let file = Some(file.unwrap_or(&nothing).0.clone());
    let flags = flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    load(Origins { file, env: env(pairs), flags })
}

#[test]
fn nothing_has_to_be_configured_and_nothing_defaults_to_production() {
    let settings = loaded(None, &[], &[]).unwrap();
    assert_eq!(settings, Settings::default());
    assert!(!settings.production());
    assert_eq!(settings.public_url(), "http://127.0.0.1:8080");
    assert_eq!(settings.sources().callbacks, source::loopback());
    assert_eq!(settings.engine_limits().lease, EngineLimits::default().lease);
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file() {
    let file = Scratch::new("layers.toml", "[worker]\nbatch = 10\npay_loops = 5\nask_loops = 6\n[worker.intervals_ms]\npay = 20\n");
    let pairs = [("PAYVAULT__WORKER__PAY_LOOPS", "7"), ("PAYVAULT__WORKER__ASK_LOOPS", "8"), ("PAYVAULT_PG_BIN", "/not/ours")];
    let settings = loaded(Some(&file), &pairs, &[("worker.ask_loops", "9")]).unwrap();
    assert_eq!((settings.worker.batch, settings.worker.pay_loops, settings.worker.ask_loops), (10, 7, 9));
    assert_eq!(settings.interval(Step::Pay), Duration::from_millis(20));
    assert_eq!(settings.interval(Step::Intake), Duration::from_secs(1));
}

#[test]
fn our_own_name_of_the_database_beats_the_usual_one() {
    let usual = loaded(None, &[("DATABASE_URL", "postgres://a/x")], &[]).unwrap();
    assert_eq!(usual.database.url.as_deref(), Some("postgres://a/x"));
    let ours = loaded(None, &[("DATABASE_URL", "postgres://a/x"), ("PAYVAULT__DATABASE__URL", "postgres://b/y")], &[]).unwrap();
    assert_eq!(ours.database.url.as_deref(), Some("postgres://b/y"));
}

#[test]
fn a_secret_may_stand_in_a_file_but_not_in_two_places() {
    let secret = Scratch::new("url", "postgres://pv:s3cret@db/vault\n");
    let path = secret.0.to_str().unwrap();
    let settings = loaded(None, &[("PAYVAULT__DATABASE__URL_FILE", path)], &[]).unwrap();
    assert_eq!(settings.database.url.as_deref(), Some("postgres://pv:s3cret@db/vault"));
    assert!(!redacted(&settings).unwrap().to_string().contains("s3cret"));
    let twice = loaded(None, &[("PAYVAULT__DATABASE__URL_FILE", path), ("DATABASE_URL", "postgres://x/y")], &[]);
    assert!(twice.unwrap_err().to_string().contains("both set"));
}

#[test]
fn a_mistyped_setting_is_refused_by_its_name() {
    let file = Scratch::new("typo.toml", "[server]\nlissten = \"127.0.0.1:1\"\n");
    assert!(loaded(Some(&file), &[], &[]).unwrap_err().to_string().contains("lissten"));
    let error = loaded(None, &[("PAYVAULT__SERVER__LISSTEN", "x")], &[]).unwrap_err();
    assert!(error.to_string().contains("lissten"), "{error}");
    let error = loaded(None, &[("PAYVAULT__WORKER__INTERVALS_MS__PAYY", "5")], &[]).unwrap_err();
    assert!(error.to_string().contains("payy") && error.to_string().contains("sequence"), "{error}");
}

#[test]
fn values_outside_their_bounds_are_refused() {
    for (name, value) in [
        ("PAYVAULT__WORKER__BATCH", "0"),
        ("PAYVAULT__WORKER__PAY_LOOPS", "1000"),
        ("PAYVAULT__LIMITS__LEASE", "5"),
        ("PAYVAULT__LIMITS__WRITE_WITHIN", "89"),
        ("PAYVAULT__SERVER__LISTEN", "nowhere"),
        ("PAYVAULT__SERVER__ENVIRONMENT", "staging"),
        ("PAYVAULT__SERVER__TRUSTED_PROXIES", "10.0.0.0/99"),
    ] {
        assert!(loaded(None, &[(name, value)], &[]).is_err(), "{name}={value}");
    }
}

#[test]
fn lists_in_the_environment_are_separated_by_commas() {
    let settings = loaded(None, &[("PAYVAULT__SERVER__TRUSTED_PROXIES", "10.0.0.0/8,192.168.1.0/24")], &[]).unwrap();
    assert_eq!(settings.server.trusted_proxies.len(), 2);
}

#[test]
fn production_needs_a_public_https_address_without_forbidden_words() {
    let production = ("PAYVAULT__SERVER__ENVIRONMENT", "production");
    let with = |url: &str| loaded(None, &[production, ("PAYVAULT__SERVER__PUBLIC_URL", url)], &[]);
    assert!(loaded(None, &[production], &[]).unwrap_err().to_string().contains("public_url"));
    assert!(with("http://vault.example.co.ke").is_err());
    let error = with("https://mpesa.example.co.ke").unwrap_err().to_string();
    assert!(error.contains("server.public_url") && error.contains("mpesa"), "{error}");
    let settings = with("https://vault.example.co.ke/").unwrap();
    assert_eq!(settings.public_url(), "https://vault.example.co.ke");
    assert_eq!(settings.sources().callbacks.len(), 12);
    assert_eq!(settings.host_rules(), HostRules::STRICT);
}
