use super::*;

const EXAMPLE: &str = include_str!("../../agent.example.toml");

fn environment() -> Environment {
    let variable = |name: &str| (name == "HOME").then(|| "/home/pi".into());
    Environment::read(variable, "Bench_Pi.local\n")
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Some("agent.toml".into()), text, &environment())
}

#[test]
fn without_a_file_everything_has_a_default() {
    let config = Config::load(None, &environment()).expect("defaults");
    assert_eq!(config.node.as_str(), "bench-pi-local");
    assert_eq!(config.collector, COLLECTOR_DEFAULT);
    assert_eq!(config.state_dir, Path::new("/home/pi/.local/state/tinywatt"));
    assert_eq!(config.sensors, []);
    assert!(!config.jobs.enabled, "jobs are asked for");
}

#[test]
fn the_example_file_states_the_defaults() {
    assert_eq!(parse(EXAMPLE).expect("the example"), parse("").expect("defaults"));
    let written: toml::Table = toml::from_str(EXAMPLE).expect("TOML");
    let default = toml::Table::try_from(File::default()).expect("TOML");
    let written_keys = written.iter().flat_map(|(key, value)| keys(key, value)).collect::<Vec<_>>();
    for (key, value) in default.iter().filter(|(key, _)| *key != "sensor").flat_map(|(key, value)| keys(key, value)) {
        assert!(written_keys.contains(&(key.clone(), value)), "the example does not state {key}");
    }
}

fn keys(key: &str, value: &toml::Value) -> Vec<(String, toml::Value)> {
    match value {
        toml::Value::Table(table) => {
            table.iter().flat_map(|(inner, value)| keys(&format!("{key}.{inner}"), value)).collect()
        }
        value => vec![(key.to_owned(), value.clone())],
    }
}

/// Lines of the example that begin with `#` and no space are settings, the others are words.
#[test]
fn everything_that_the_example_comments_out_can_be_used() {
    let used: String = EXAMPLE
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .fold(String::new(), |text, line| text + line + "\n");
    let config = parse(&used).expect("all settings together");
    assert_eq!(config.sensors.len(), 6);
    assert!(config.inference.litert_library.is_some());
}

#[test]
fn a_mistake_is_named_with_file_line_and_key() {
    for (text, line, parts) in [
        ("node = 'Pi 4'", 1, &["`node = 'Pi 4'`", "a-z"][..]),
        ("\ncolector = 'x'", 2, &["colector", "`collector`"]),
        ("collector = 'bench:7400'", 1, &["collector = 'bench:7400'", "http://127.0.0.1:7400"]),
        ("[spool]\nsize_bytes_max = 1000", 1, &["size_bytes_max = 1000", "1048576"]),
        ("[spool]\nsize_bytes_max = '1 GB'", 2, &["size_bytes_max = '1 GB'", "u64"]),
        ("[spool]\nsize = 1", 2, &["unknown field `size`", "`size_bytes_max`"]),
        ("node = 'a'\n[[sensor]]\nname = 'rail'\nsource = 'ina219'\nshunt_ohms = 0", 2, &["shunt_ohms = 0"]),
        ("[jobs]\nenabled = 1", 2, &["enabled = 1", "boolean"]),
        ("[jobs]\nenable = true", 2, &["unknown field `enable`", "`enabled`"]),
        ("node = \n", 1, &["node ="]),
    ] {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.starts_with(&format!("agent.toml, line {line}, ")), "{text}\n{error}");
        for part in parts {
            assert!(error.contains(part), "{text}\n{error}");
        }
    }
}

#[test]
fn a_file_that_is_named_and_not_there_is_an_error() {
    let error = Config::load(Some(Path::new("/nowhere/agent.toml")), &environment()).expect_err("not there");
    assert_eq!(error.to_string(), "failed to read the configuration /nowhere/agent.toml");
}

#[test]
fn without_sensors_the_way_out_is_shown() {
    let config = parse("").expect("defaults");
    let error = config.require_sensors().expect_err("none").to_string();
    assert!(error.contains("[[sensor]]") && error.contains("--sensor emulated"), "{error}");
    let overrides = Overrides { sensor: Some("emulated".to_owned()), ..Overrides::default() };
    assert_eq!(config.with(&overrides).expect("known").require_sensors().expect("one").len(), 1);
}

#[test]
fn the_command_line_decides_over_the_file() {
    let file = "node = 'a'\n[[sensor]]\nname = 'rail'\nsource = 'ina219-emulator'\n\
                [[sensor]]\nname = 'usb'\nsource = 'ina219-emulator'";
    let overrides = Overrides {
        node: Some("b".parse().expect("a name")),
        collector: Some("http://bench:1".to_owned()),
        sensor: Some("usb".to_owned()),
    };
    let config = parse(file).expect("good").with(&overrides).expect("good");
    assert_eq!((config.node.as_str(), config.collector.as_str()), ("b", "http://bench:1"));
    assert_eq!(config.sensors.iter().map(|sensor| sensor.name().as_str()).collect::<Vec<_>>(), ["usb"]);
    let unknown = Overrides { sensor: Some("gpu".to_owned()), ..Overrides::default() };
    let error = parse(file).expect("good").with(&unknown).expect_err("no such sensor").to_string();
    assert!(error.contains("rail, usb"), "{error}");
}

#[test]
fn systemd_and_xdg_say_where_state_and_configuration_are() {
    let variables = |name: &str| match name {
        "STATE_DIRECTORY" => Some("/var/lib/tinywatt:/var/lib/other".into()),
        "XDG_CONFIG_HOME" => Some("/etc/xdg/pi".into()),
        "HOME" => Some("/home/pi".into()),
        _ => None,
    };
    let environment = Environment::read(variables, "pi");
    let files = [Path::new("/etc/xdg/pi/tinywatt/agent.toml"), Path::new("/etc/tinywatt/agent.toml")];
    assert_eq!(environment.config_files(), files);
    let config = Config::parse(None, "", &environment).expect("defaults");
    assert_eq!(config.state_dir, Path::new("/var/lib/tinywatt"));
    let nowhere = Environment::read(|_| None, "pi");
    let error = Config::parse(None, "", &nowhere).expect_err("no place");
    assert!(error.to_string().contains("state_dir"), "{error}");
}

#[test]
fn any_host_name_becomes_a_node_name() {
    for (host, node) in [("RASPI", "raspi"), ("-x-", "x"), ("", "node"), ("ü", "node"), ("a.b_c", "a-b-c")] {
        assert_eq!(Environment::read(|_| None, host).node().as_str(), node);
    }
    assert_eq!(Environment::read(|_| None, &"x".repeat(80)).node().as_str().len(), 64);
}
