//! Several files, and variables of the environment in strings.

use super::*;

impl ConfigDirectory {
    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn load(&self) -> Result<Config, String> {
        let loaded = Config::load(&self.path("ober.toml"));
        let base = self.directory.path().to_str().unwrap();
        loaded.map_err(|error| error.to_string().replace(base, "@"))
    }
}

const NODE: &str = "[node]\ninterfaces=['a']\n[workers]\nhaproxy='./haproxy'\n";

#[test]
fn the_files_beside_the_main_one_are_merged_in_the_order_of_their_names() {
    let directory = ConfigDirectory::new();
    let service = |name: &str, port: u16| {
        format!(
            "[[services]]\nname='{name}'\nvips=['127.0.0.2']\nbackend='rgw'\n\
             [[services.listeners]]\nport={port}\naccess='open'\n"
        )
    };
    directory.write("ober.toml", &format!("{NODE}{}", service("first", 1)));
    directory.write("config.d/20.toml", &service("third", 3));
    directory.write(
        "config.d/10.toml",
        &format!("{}[node]\nsample=1\n[backends.rgw]\n", service("second", 2)),
    );
    directory.write("config.d/30.toml", "[backends.rgw.check]\nrise=7");
    directory.write("config.d/.40.toml.swp.toml", "nonsense");
    directory.write("config.d/40.toml.bak", "nonsense");
    let config = directory.load().unwrap();
    let names: Vec<_> = config
        .services
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    assert_eq!(names, ["first", "second", "third"]);
    assert_eq!(
        (config.node.sample, &config.node.interfaces[0][..]),
        (1, "a")
    );
    assert_eq!(config.backends["rgw"].check.as_ref().unwrap().rise, 7);
}

#[test]
fn a_key_written_in_two_files_is_refused_with_both_places() {
    let directory = ConfigDirectory::new();
    directory.write(
        "ober.toml",
        &format!("{NODE}count=1\n[lists.a]\nsources=['x']\n"),
    );
    directory.write(
        "config.d/a.toml",
        "[workers]\n\ncount = 2\n[lists.a]\nsources=['y']\n",
    );
    assert_eq!(
        directory.load().unwrap_err(),
        "@/config.d/a.toml:3:1: `count` is written twice
  |
3 | count = 2
  | ^^^^^
  = first written at @/ober.toml:5
  = one of the two must go

@/config.d/a.toml:5:1: `sources` is written twice
  |
5 | sources=['y']
  | ^^^^^^^
  = first written at @/ober.toml:7
  = one of the two must go"
    );
}

#[test]
fn faults_in_several_files_are_reported_together_each_in_its_own_file() {
    let directory = ConfigDirectory::new();
    directory.write(
        "ober.toml",
        &format!("{NODE}\n[limits]\nipv4_pages = 'many'"),
    );
    directory.write("config.d/a.toml", "[limits]\nipv6_host = 5");
    let message = directory.load().unwrap_err();
    assert!(
        message.contains("@/ober.toml:7:14: `ipv4_pages` is \"many\", but must be a whole number"),
        "{message}"
    );
    assert!(
        message.contains("@/config.d/a.toml:2:1: unknown key `ipv6_host`"),
        "{message}"
    );
    assert!(
        message.contains("= did you mean `ipv6_hosts`?"),
        "{message}"
    );
}

#[test]
fn an_unreadable_configuration_is_named_with_the_remedy() {
    let directory = ConfigDirectory::new();
    assert_eq!(
        directory.load().unwrap_err(),
        "read configuration @/ober.toml: No such file or directory (os error 2); \
         `ober-user config` makes it (`ober-user config example` shows every key); or name another file"
    );
    fs::write(directory.path("ober.toml"), [0xff, 0xfe]).unwrap();
    assert!(
        directory
            .load()
            .unwrap_err()
            .ends_with("it must be UTF-8 text")
    );
    directory.write("ober.toml", NODE);
    directory.write("config.d", "a file");
    assert!(
        directory
            .load()
            .unwrap_err()
            .starts_with("list the directory @/config.d of further")
    );
}

#[test]
fn variables_are_put_into_strings_before_they_are_judged() {
    let mut directory = ConfigDirectory::new();
    directory
        .env
        .variables
        .insert("PORT".to_owned(), "9000".to_owned());
    let text =
        "[node]\ninterfaces=['a']\nmetrics='127.0.0.1:${PORT}'\n[lists.a]\nsources=['@/x$${PORT}']";
    let config = directory.parse(text).unwrap();
    assert_eq!(config.node.metrics.port(), 9000);
    assert_eq!(config.lists["a"].sources, ["@/x${PORT}"]);
}

#[test]
fn an_unset_variable_is_refused_with_its_line_and_column() {
    let text = "[node]\ninterfaces=[\n 'a',\n 'b${GONE}',\n]";
    assert_eq!(
        ConfigDirectory::new().message(text),
        "@/ober.toml:4:2: environment variable `GONE` is not set
  |
4 |  'b${GONE}',
  |  ^^^^^^^^^^
  = `$${` stands for `${` where no variable is meant"
    );
}

const KEY: &str = "00112233445566778899aabbccddeeff";

fn with_key(line: &str) -> String {
    format!("[node]\ninterfaces=['a']\n{line}\n")
}

#[test]
fn the_cluster_key_comes_from_a_private_file_or_the_environment() {
    let mut directory = ConfigDirectory::new();
    directory
        .env
        .variables
        .insert("OBER".to_owned(), KEY.to_owned());
    fs::write(directory.path("key"), format!("{KEY}\n")).unwrap();
    fs::set_permissions(directory.path("key"), fs::Permissions::from_mode(0o640)).unwrap();
    let expected = Some(ClusterKey([0x0011_2233_4455_6677, 0x8899_aabb_ccdd_eeff]));
    for line in ["cluster_key = '${OBER}'", "cluster_key_file = 'key'"] {
        assert_eq!(
            directory.parse(&with_key(line)).unwrap().node.cluster_key,
            expected,
            "{line}"
        );
    }
}

#[test]
fn a_world_readable_cluster_key_is_refused() {
    let directory = ConfigDirectory::new();
    fs::write(directory.path("key"), KEY).unwrap();
    fs::set_permissions(directory.path("key"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(
        directory.problems(&with_key("cluster_key_file = 'key'")),
        ["3: @/key holds the cluster key and every account may read it | chmod 600 @/key"]
    );
    directory.write(
        "ober.toml",
        &format!("{NODE}[limits]\n[resolve]\n[lists.a]\n"),
    );
    directory.write(
        "config.d/key.toml",
        &format!("[node]\ncluster_key = '{KEY}'"),
    );
    let path = directory.path("config.d/key.toml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(
        directory
            .load()
            .unwrap_err()
            .contains("every account may read it\n  = chmod 600 @/config.d/key.toml")
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(directory.load().unwrap().node.cluster_key.is_some());
}

#[test]
fn no_error_message_shows_the_cluster_key() {
    let directory = ConfigDirectory::new();
    let inline = format!("node = {{ interfaces = ['a'], cluster_key = '{KEY}', sampel = 1 }}");
    for text in [
        with_key(&format!("cluster_key = '{KEY}0'")),
        with_key(&format!("cluster_key = '{KEY}")),
        with_key(&format!("cluster_key = ['{KEY}']")),
        with_key("cluster_key = 11223344556677"),
        with_key(&format!("cluster_key = '{KEY}' '{KEY}'")),
        with_key(&format!("cluster_key = '{KEY}'\ncluster_key = '{KEY}'")),
        with_key(&format!("cluster_key_file = 'key'\ncluster_key = '{KEY}'")),
        inline,
    ] {
        let error = directory.parse(&text).unwrap_err();
        for message in [error.to_string(), format!("{error:?}")] {
            assert!(!message.contains("11223344556677"), "{message}");
        }
    }
    let config = directory
        .parse(&with_key(&format!("cluster_key = '{KEY}'")))
        .unwrap();
    assert!(format!("{config:?}").contains("ClusterKey(secret)"));
}
