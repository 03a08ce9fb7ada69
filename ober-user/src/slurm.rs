//! Where Slurm itself looks for its nodes: the `NodeName` lines of a `slurm.conf`. Reads nothing else of it.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use crate::{
    file,
    hostlist::{self, Cap, NoSources},
};

/// Slurm nests includes at most this deep in practice; a file that includes itself would go on for ever.
const DEEPEST: usize = 8;

/// The addresses Slurm uses for its nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeAddrs(HashMap<String, NodeAddr>);

/// What `NodeAddr` says, or else `NodeHostname`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeAddr {
    Addr(IpAddr),
    /// Still to be resolved.
    Name(String),
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
    #[error("Include {0:?}: patterns with '%' are filled in by Slurm only; write the path")]
    Pattern(String),
    #[error("Include more than {DEEPEST} files deep; does a file include itself?")]
    Deep,
}

impl NodeAddrs {
    /// Reads `path` and what it includes.
    pub fn read(path: &Path, cap: Cap) -> Result<Self, Error> {
        let base = path.parent().unwrap_or(Path::new("."));
        let mut reader = Reader {
            base,
            cap,
            nodes: Self::default(),
        };
        reader.file(path, 0)?;
        Ok(reader.nodes)
    }

    pub fn get(&self, node: &str) -> Option<&NodeAddr> {
        self.0.get(node)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<S: Into<String>> FromIterator<(S, NodeAddr)> for NodeAddrs {
    fn from_iter<I: IntoIterator<Item = (S, NodeAddr)>>(nodes: I) -> Self {
        Self(
            nodes
                .into_iter()
                .map(|(name, addr)| (name.into(), addr))
                .collect(),
        )
    }
}

struct Reader<'a> {
    /// Where relative includes are looked for, also those of included files.
    base: &'a Path,
    cap: Cap,
    nodes: NodeAddrs,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, depth: usize) -> Result<(), Error> {
        // Comments in old files are not always UTF-8, and none of what is read here may be anything else.
        let bytes = file::read(path, file::Kind::Slurm).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        let text = String::from_utf8_lossy(&bytes);
        for (line, logical) in logical_lines(&text) {
            let fault = |fault| Error::Line {
                path: path.to_owned(),
                line,
                fault,
            };
            if let Some(include) = include(&logical).map_err(fault)? {
                if depth == DEEPEST {
                    return Err(fault(Fault::Deep));
                }
                self.file(&self.base.join(include), depth + 1)?;
            } else {
                self.nodes(&logical).map_err(fault)?;
            }
        }
        Ok(())
    }

    fn nodes(&mut self, line: &str) -> Result<(), Fault> {
        let pairs = pairs(line);
        // A partition's `Nodes=` or a `DownNodes=` line may hold other keys; the first key makes the line what it is.
        let Some((key, names)) = pairs.first() else {
            return Ok(());
        };
        if !key.eq_ignore_ascii_case("NodeName") || names.eq_ignore_ascii_case("DEFAULT") {
            return Ok(());
        }
        let wanted = ["NodeAddr", "NodeHostname"].into_iter().find_map(|key| {
            let (_, value) = pairs.iter().find(|(k, _)| k.eq_ignore_ascii_case(key))?;
            Some((key, *value))
        });
        let Some((key, addrs)) = wanted else {
            return Ok(());
        };
        let names = self.expand("NodeName", names)?;
        let addrs = self.expand(key, addrs)?;
        if addrs.len() != names.len() && addrs.len() != 1 {
            return Err(Fault::Counts {
                key,
                names: names.len(),
                addrs: addrs.len(),
            });
        }
        let addrs = addrs.into_iter().map(node_addr).cycle();
        self.nodes.0.extend(names.into_iter().zip(addrs));
        Ok(())
    }

    fn expand(&mut self, key: &'static str, expr: &str) -> Result<Vec<String>, Fault> {
        hostlist::every_name(expr, &mut self.cap, &mut NoSources)
            .map_err(|source| Fault::Hostlist { key, source })
    }
}

fn node_addr(text: String) -> NodeAddr {
    match text.parse::<IpAddr>() {
        Ok(addr) => NodeAddr::Addr(addr.to_canonical()),
        Err(_) => NodeAddr::Name(text),
    }
}

/// Lines with their comments cut off and their continuations joined, each with the number of its first. A backslash inside a
/// comment continues nothing, as in Slurm.
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

fn include(line: &str) -> Result<Option<&str>, Fault> {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    if !word.eq_ignore_ascii_case("Include") {
        return Ok(None);
    }
    match rest.trim() {
        "" => Err(Fault::NoFile),
        path if path.contains('%') => Err(Fault::Pattern(path.to_owned())),
        path => Ok(Some(path)),
    }
}

/// `Key=value` pairs; blanks may stand around the '=', and a value may be quoted.
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
        // Words without a '=' before the key are none of ours; the key is the last of them.
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

    fn read(files: &[(&str, &str)]) -> Result<NodeAddrs, Error> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
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
            ("both", addr("10.0.1.1")),
        ]
        .into_iter()
        .collect();
        assert_eq!(read(&[("slurm.conf", text)]).unwrap(), expected);
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
        assert_eq!(read(&[("slurm.conf", text)]).unwrap(), expected);
    }

    #[test]
    fn one_address_serves_all_its_nodes_and_any_other_mismatch_names_the_line() {
        let nodes = read(&[("c", "NodeName=n[1-3] NodeAddr=10.0.0.1")]).unwrap();
        assert_eq!(nodes.get("n3"), Some(&addr("10.0.0.1")));
        let error = read(&[("c", "\nNodeName=n[1-3] \\\n NodeAddr=10.0.0.[1-2]")]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.ends_with("/c, line 2: 3 names for NodeName but 2 for NodeAddr; Slurm wants as many, or one for all"),
            "{text}"
        );
    }

    #[test]
    fn an_address_given_twice_still_counts_twice() {
        let nodes = read(&[("c", "NodeName=n[1-3] NodeAddr=a,a,b")]).unwrap();
        assert_eq!(nodes.get("n2"), Some(&name("a")));
        assert_eq!(nodes.get("n3"), Some(&name("b")));
    }

    #[test]
    fn includes_are_looked_for_beside_the_first_file() {
        let nodes = read(&[
            (
                "slurm.conf",
                "include nodes.conf\nNodeName=b NodeAddr=10.0.0.2",
            ),
            ("nodes.conf", "Include   more.conf\n"),
            ("more.conf", "NodeName=a NodeAddr=10.0.0.1"),
        ])
        .unwrap();
        assert_eq!(nodes.get("a"), Some(&addr("10.0.0.1")));
        assert_eq!(nodes.get("b"), Some(&addr("10.0.0.2")));
    }

    #[test]
    fn what_cannot_be_read_is_an_error_that_names_it() {
        for (text, end) in [
            (
                "Include gone.conf",
                "check resolve.slurm_conf and the Include lines",
            ),
            ("Include", "line 1: Include without a file; name one"),
            (
                "Include slurm.conf.%c",
                "filled in by Slurm only; write the path",
            ),
            ("Include slurm.conf", "does a file include itself?"),
            ("NodeName=n[3-1] NodeAddr=a", "n[3-1]\n    ^"),
            (
                "NodeName=n1 NodeAddr=@/etc/hosts",
                "pass their contents; check that it exists and may be read",
            ),
        ] {
            let text = read(&[("slurm.conf", text)]).unwrap_err().to_string();
            assert!(text.ends_with(end), "{text}");
            assert!(
                text.contains("slurm.conf") || text.contains("gone.conf"),
                "{text}"
            );
        }
    }
}
