//! The addresses that Slurm has for its nodes: the `NodeName` lines of a `slurm.conf`. Reads no other lines but `Include` and
//! `ClusterName`.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    names::{
        hostlist::{self, Cap, NoSources},
        notation::{self, Host, Miss},
        resolve::Resolve,
    },
    system::file,
};

/// Slurm nests includes at most this deep in practice; the limit stops a file that includes itself.
const DEEPEST: usize = 8;
/// Time limit for all files together.
const PATIENCE: Duration = Duration::from_secs(10);

/// The addresses that Slurm uses for its nodes, as far as its files could be read. Names on a faulty line are not resolved
/// elsewhere, since another machine may have the same name there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeAddrs {
    nodes: HashMap<String, NodeAddr>,
    /// Names on lines that cannot be understood, each with the error.
    lost: HashMap<String, String>,
    /// An error that hides an unknown set of names.
    gap: Option<String>,
}

/// The value of `NodeAddr`, or else of `NodeHostname`, or else of `NodeName`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeAddr {
    Addr(IpAddr),
    /// Still to be resolved.
    Name(String),
}

/// Slurm's answer for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says<'a> {
    Addr(IpAddr),
    /// Resolve this name instead.
    Name(&'a str),
    /// The name is not a node of Slurm's.
    Nothing,
    /// The name may be a node; why that is unknown.
    Unknown(&'a str),
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read {}: {source}; check resolve.slurm_conf and the Include lines", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}, line {line}: {fault}", path.display())]
    Line {
        path: PathBuf,
        line: usize,
        fault: Fault,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("{key}: {source}")]
    Hostlist {
        key: &'static str,
        source: hostlist::Error,
    },
    #[error("{key}: {source}")]
    Miss { key: &'static str, source: Miss },
    #[error(
        "{names} names for NodeName but {addrs} for {key}; Slurm wants as many, or one for all"
    )]
    Counts {
        key: &'static str,
        names: usize,
        addrs: usize,
    },
    #[error("Include without a file; name one")]
    NoFile,
    #[error("Include {0:?}: no line before it says ClusterName, which `%c` stands for")]
    NoCluster(String),
    #[error("Include more than {DEEPEST} files deep; does a file include itself?")]
    Deep,
}

impl NodeAddrs {
    /// Reads `path` and the files that it includes.
    pub fn read(path: &Path, cap: Cap) -> Self {
        let mut reader = Reader {
            cap,
            cluster: None,
            nodes: Self::default(),
        };
        reader.file(path, 0);
        reader.nodes
    }

    /// [`Self::read`] for the file that `how` names, on a blocking thread.
    pub async fn load(how: &Resolve, cap: Cap) -> Self {
        let Some(path) = how.slurm_conf.clone() else {
            return Self::default();
        };
        let shown = path.display().to_string();
        let read = file::away(PATIENCE, move || Self::read(&path, cap)).await;
        read.unwrap_or_else(|error| Self {
            gap: Some(format!("read {shown}: {error}")),
            ..Self::default()
        })
    }

    pub fn says(&self, node: &str) -> Says<'_> {
        if let Some(why) = self.lost.get(node) {
            return Says::Unknown(why);
        }
        match (self.nodes.get(node), &self.gap) {
            (Some(NodeAddr::Addr(address)), _) => Says::Addr(*address),
            (Some(NodeAddr::Name(name)), _) => Says::Name(name),
            (None, Some(why)) => Says::Unknown(why),
            (None, None) => Says::Nothing,
        }
    }

    fn gap(&mut self, error: &Error) {
        self.gap.get_or_insert_with(|| error.to_string());
    }
}

impl<S: Into<String>> FromIterator<(S, NodeAddr)> for NodeAddrs {
    fn from_iter<I: IntoIterator<Item = (S, NodeAddr)>>(nodes: I) -> Self {
        Self {
            nodes: nodes
                .into_iter()
                .map(|(name, addr)| (name.into(), addr))
                .collect(),
            ..Self::default()
        }
    }
}

struct Reader {
    cap: Cap,
    /// `ClusterName`, once a line has set it.
    cluster: Option<String>,
    nodes: NodeAddrs,
}

impl Reader {
    /// A file that cannot be read and a line that cannot be understood do not stop the reading of the rest.
    fn file(&mut self, path: &Path, depth: usize) {
        // Comments in old files are not always UTF-8; everything that is read here is ASCII.
        let bytes = match file::read(path, file::Kind::Slurm) {
            Ok(bytes) => bytes,
            Err(source) => {
                let path = path.to_owned();
                return self.nodes.gap(&Error::Read { path, source });
            }
        };
        let text = String::from_utf8_lossy(&bytes);
        for (line, logical) in logical_lines(&text) {
            let fault = |fault| Error::Line {
                path: path.to_owned(),
                line,
                fault,
            };
            match self.include(&logical, depth) {
                Ok(Some(included)) => self.file(&beside(path, &included), depth + 1),
                Ok(None) => self.take(&logical, fault),
                Err(why) => self.nodes.gap(&fault(why)),
            }
        }
    }

    /// Takes in the content of a line.
    fn take(&mut self, line: &str, fault: impl Fn(Fault) -> Error) {
        let Err((names, why)) = self.line(line) else {
            return;
        };
        let error = fault(why);
        if names.is_empty() {
            self.nodes.gap(&error);
        }
        let lost = names.into_iter().map(|name| (name, error.to_string()));
        self.nodes.lost.extend(lost);
    }

    /// The file that a line includes.
    fn include(&self, line: &str, depth: usize) -> Result<Option<String>, Fault> {
        let line = line.trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        if !word.eq_ignore_ascii_case("Include") {
            return Ok(None);
        }
        let path = rest.trim();
        if path.is_empty() {
            return Err(Fault::NoFile);
        }
        if depth == DEEPEST {
            return Err(Fault::Deep);
        }
        match &self.cluster {
            Some(cluster) => Ok(Some(path.replace("%c", cluster))),
            None if path.contains("%c") => Err(Fault::NoCluster(path.to_owned())),
            None => Ok(Some(path.to_owned())),
        }
    }

    /// Takes in a line; a fault comes with the names that are lost by it, as far as they are known.
    fn line(&mut self, line: &str) -> Result<(), (Vec<String>, Fault)> {
        let pairs = pairs(line);
        // Other kinds of lines, such as partitions, may hold the same keys; the first key decides the kind.
        let Some((key, names)) = pairs.first() else {
            return Ok(());
        };
        if key.eq_ignore_ascii_case("ClusterName") {
            // Slurm fills the name in as lower case, too.
            self.cluster = Some(names.to_ascii_lowercase());
            return Ok(());
        }
        if !key.eq_ignore_ascii_case("NodeName") || names.eq_ignore_ascii_case("DEFAULT") {
            return Ok(());
        }
        let wanted = ["NodeAddr", "NodeHostname"].into_iter().find_map(|key| {
            let (_, value) = pairs.iter().find(|(k, _)| k.eq_ignore_ascii_case(key))?;
            Some((key, *value))
        });
        let names = self
            .expand("NodeName", names)
            .map_err(|fault| (Vec::new(), fault))?;
        let Some((key, addrs)) = wanted else {
            // Slurm resolves these nodes by their names; that holds even when another line cannot be read.
            let named = names.into_iter().map(|name| {
                let addr = NodeAddr::Name(name.clone());
                (name, addr)
            });
            self.nodes.nodes.extend(named);
            return Ok(());
        };
        match self.addresses(key, addrs, names.len()) {
            Ok(addrs) => {
                let named = names.into_iter().zip(addrs.into_iter().cycle());
                self.nodes.nodes.extend(named);
                Ok(())
            }
            Err(fault) => Err((names, fault)),
        }
    }

    /// As many addresses as names, or one for all.
    fn addresses(
        &mut self,
        key: &'static str,
        expr: &str,
        names: usize,
    ) -> Result<Vec<NodeAddr>, Fault> {
        let addrs = self.expand(key, expr)?;
        if addrs.len() != names && addrs.len() != 1 {
            return Err(Fault::Counts {
                key,
                names,
                addrs: addrs.len(),
            });
        }
        let addr = |text: String| match notation::host(&text) {
            Ok(Host::Addr(address)) => Ok(NodeAddr::Addr(address)),
            Ok(Host::Name(name)) => Ok(NodeAddr::Name(name)),
            Err(source) => Err(Fault::Miss { key, source }),
        };
        addrs.into_iter().map(addr).collect()
    }

    fn expand(&mut self, key: &'static str, expr: &str) -> Result<Vec<String>, Fault> {
        hostlist::every_name(expr, &mut self.cap, &mut NoSources)
            .map_err(|source| Fault::Hostlist { key, source })
    }
}

/// A relative path starts at the directory of the file that includes it, as in libslurm.
fn beside(path: &Path, included: &str) -> PathBuf {
    path.parent().unwrap_or(Path::new(".")).join(included)
}

/// Lines without comments and with continuations joined, each with the number of its first line. As in Slurm, a backslash
/// inside a comment continues nothing.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, physical) in text.lines().enumerate() {
        let code = without_comment(physical).trim_end();
        let (code, continued) = match code.strip_suffix('\\') {
            Some(code) => (code, true),
            None => (code, false),
        };
        let (number, mut line) = open.take().unwrap_or((index + 1, String::new()));
        line.push_str(code);
        if continued {
            open = Some((number, line));
        } else {
            lines.push((number, line));
        }
    }
    lines.extend(open);
    lines
}

/// `\#` is a number sign, not a comment.
fn without_comment(line: &str) -> &str {
    let start = line
        .char_indices()
        .find(|&(place, c)| c == '#' && !line[..place].ends_with('\\'));
    start.map_or(line, |(place, _)| &line[..place])
}

/// `Key=value` pairs; blanks may surround the '=', and a value may be quoted.
fn pairs(line: &str) -> Vec<(&str, &str)> {
    let mut pairs = Vec::new();
    let mut rest = line;
    while let Some((key, behind)) = rest.split_once('=') {
        let behind = behind.trim_start();
        let (value, after) = match behind.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => behind
                .split_once(char::is_whitespace)
                .unwrap_or((behind, "")),
        };
        // Words before the key without a '=' are ignored; the key is the last word.
        let key = key.split_whitespace().next_back().unwrap_or("");
        pairs.push((key.trim_end_matches(['+', '-', '*', '/']), value));
        rest = after;
    }
    pairs
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(files: &[(&str, &str)]) -> NodeAddrs {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        NodeAddrs::read(&folder.path().join(files[0].0), Cap::default())
    }

    fn addr(text: &str) -> NodeAddr {
        NodeAddr::Addr(text.parse().unwrap())
    }

    fn name(text: &str) -> NodeAddr {
        NodeAddr::Name(text.to_owned())
    }

    #[test]
    fn nodes_are_paired_with_their_addresses_by_position() {
        let text = "ClusterName=t\n\
            # NodeName=c1 NodeAddr=10.9.9.9\n\
            NodeName=DEFAULT CPUs=4 NodeAddr=10.8.8.8\n\
            nodename=n[1-2],m1 CPUs=2 NODEADDR=10.0.0.[1-2],gw.internal State=UNKNOWN # last\n\
            NodeName = \"v6\" NodeAddr = fd00::1\n\
            NodeName=h[1-2] NodeHostname=host[1-2]\n\
            NodeName=plain CPUs=1\n\
            NodeName=both NodeHostname=nowhere NodeAddr=10.0.1.1\n\
            PartitionName=all Nodes=n[1-2] Default=YES\n";
        let expected: NodeAddrs = [
            ("n1", addr("10.0.0.1")),
            ("n2", addr("10.0.0.2")),
            ("m1", name("gw.internal")),
            ("v6", addr("fd00::1")),
            ("h1", name("host1")),
            ("h2", name("host2")),
            ("plain", name("plain")),
            ("both", addr("10.0.1.1")),
        ]
        .into_iter()
        .collect();
        assert_eq!(read(&[("slurm.conf", text)]), expected);
    }

    #[test]
    fn a_slurm_node_without_an_address_is_resolved_by_name_and_a_faulty_line_is_reported() {
        let text = "NodeName=n[1-2] CPUs=4\nInclude gone.conf\nNodeName=n3 NodeAddr=10.0.0.300";
        let nodes = read(&[("slurm.conf", text)]);
        // The unreadable file cannot contradict a node that was read.
        assert_eq!(nodes.says("n2"), Says::Name("n2"));
        for lost in ["n3", "n9"] {
            assert!(matches!(nodes.says(lost), Says::Unknown(_)), "{nodes:?}");
        }
        let nodes = read(&[("slurm.conf", "NodeName=n[1-2\nNodeName=m1 CPUs=4")]);
        assert_eq!(nodes.says("m1"), Says::Name("m1"));
        let Says::Unknown(why) = nodes.says("n1") else {
            panic!("{nodes:?}");
        };
        assert!(why.contains("slurm.conf, line 1: NodeName: "), "{why}");
    }

    #[test]
    fn a_backslash_continues_a_line_but_not_a_comment() {
        let text = "NodeName=n[1-2] \\\n  NodeAddr=10.0.0.[1-2] # and \\\nNodeName=n3 \\\r\n NodeAddr=10.0.0.3\\";
        let expected: NodeAddrs = [
            ("n1", addr("10.0.0.1")),
            ("n2", addr("10.0.0.2")),
            ("n3", addr("10.0.0.3")),
        ]
        .into_iter()
        .collect();
        assert_eq!(read(&[("slurm.conf", text)]), expected);
    }

    #[test]
    fn one_address_serves_all_its_nodes_and_any_other_mismatch_names_the_line() {
        let nodes = read(&[("c", "NodeName=n[1-3] NodeAddr=10.0.0.1")]);
        assert_eq!(nodes.says("n3"), Says::Addr("10.0.0.1".parse().unwrap()));
        let nodes = read(&[("c", "\nNodeName=n[1-3] \\\n NodeAddr=10.0.0.[1-2]")]);
        let Says::Unknown(why) = nodes.says("n2") else {
            panic!("{nodes:?}");
        };
        assert!(
            why.ends_with("/c, line 2: 3 names for NodeName but 2 for NodeAddr; Slurm wants as many, or one for all"),
            "{why}"
        );
    }

    #[test]
    fn an_address_given_twice_still_counts_twice() {
        let nodes = read(&[("c", "NodeName=n[1-3] NodeAddr=a,a,b")]);
        assert_eq!(nodes.says("n2"), Says::Name("a"));
        assert_eq!(nodes.says("n3"), Says::Name("b"));
    }

    fn at(text: &str) -> Says<'static> {
        Says::Addr(text.parse().unwrap())
    }

    #[test]
    fn an_include_is_read_relative_to_the_including_file_and_may_contain_the_cluster_name() {
        let nodes = read(&[
            (
                "slurm.conf",
                "ClusterName=Big\ninclude conf.d/nodes.conf\nNodeName=b NodeAddr=10.0.0.2\nInclude x-%c/%c.conf",
            ),
            ("conf.d/nodes.conf", "Include   rack1.conf\n"),
            ("conf.d/rack1.conf", "NodeName=a NodeAddr=10.0.0.1"),
            ("rack1.conf", "NodeName=a NodeAddr=10.99.0.1"),
            ("x-big/big.conf", "NodeName=c NodeAddr=10.0.0.3"),
        ]);
        let expected: NodeAddrs = [
            ("a", addr("10.0.0.1")),
            ("b", addr("10.0.0.2")),
            ("c", addr("10.0.0.3")),
        ]
        .into_iter()
        .collect();
        assert_eq!(nodes, expected);
    }

    #[test]
    fn a_fault_in_slurm_conf_makes_only_the_names_of_its_line_unknown() {
        for (fault, end) in [
            (
                "NodeName=n[3-4] NodeAddr=10.0.0.300,10.0.0.4",
                "without leading zeros or blanks",
            ),
            (
                "NodeName=n[3-4] NodeAddr=10.0.0.[3-",
                "add ']'\n  10.0.0.[3-\n         ^",
            ),
            ("NodeName=n[3-4] NodeAddr=10.0.0.3-4,x", "without blanks"),
            (
                "NodeName=n3,n4 NodeAddr=@/etc/hosts",
                "check that it exists and may be read",
            ),
        ] {
            let text =
                format!("NodeName=n1 NodeAddr=10.0.0.1\n{fault}\nNodeName=n5 NodeAddr=10.0.0.5");
            let nodes = read(&[("slurm.conf", &text)]);
            assert_eq!(nodes.says("n1"), at("10.0.0.1"));
            assert_eq!(nodes.says("n5"), at("10.0.0.5"));
            assert_eq!(nodes.says("n9"), Says::Nothing);
            for lost in ["n3", "n4"] {
                let Says::Unknown(why) = nodes.says(lost) else {
                    panic!("{fault}: {nodes:?}");
                };
                assert!(
                    why.contains("slurm.conf, line 2: NodeAddr") && why.ends_with(end),
                    "{why}"
                );
            }
        }
    }

    #[test]
    fn an_unreadable_part_of_slurm_conf_makes_every_name_not_read_elsewhere_unknown() {
        for (fault, end) in [
            (
                "Include gone.conf",
                "check resolve.slurm_conf and the Include lines",
            ),
            ("Include", "line 2: Include without a file; name one"),
            ("Include nodes-%c.conf", "which `%c` stands for"),
            ("Include slurm.conf", "does a file include itself?"),
            ("NodeName=n[3-1] NodeAddr=a", "n[3-1]\n    ^"),
        ] {
            let text =
                format!("NodeName=n1 NodeAddr=10.0.0.1\n{fault}\nNodeName=n5 NodeAddr=10.0.0.5");
            let nodes = read(&[("slurm.conf", &text)]);
            assert_eq!(nodes.says("n1"), at("10.0.0.1"));
            assert_eq!(nodes.says("n5"), at("10.0.0.5"));
            let Says::Unknown(why) = nodes.says("n9") else {
                panic!("{fault}: {nodes:?}");
            };
            assert!(why.ends_with(end), "{why}");
            assert!(
                why.contains("slurm.conf") || why.contains("gone.conf"),
                "{why}"
            );
        }
        let nodes = NodeAddrs::read(Path::new("/no/such/slurm.conf"), Cap::default());
        let Says::Unknown(why) = nodes.says("n1") else {
            panic!("{nodes:?}");
        };
        assert!(why.starts_with("read /no/such/slurm.conf: "), "{why}");
    }
}
