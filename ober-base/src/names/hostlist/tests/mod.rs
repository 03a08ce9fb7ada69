//! Tables, then properties. `tests/tests/hostlist.rs` compares with a real scontrol.

use std::{collections::BTreeMap, io::BufReader, num::NonZeroU16};

use proptest::prelude::*;

use super::*;
use crate::names::notation::Miss;

mod laws;
mod lines;

/// Files in memory, read in chunks of the size given.
#[derive(Default)]
struct Memory {
    files: BTreeMap<&'static str, Vec<u8>>,
    stdin: Vec<u8>,
    chunk: usize,
}

impl Memory {
    fn file(name: &'static str, text: impl Into<Vec<u8>>) -> Self {
        Self {
            files: [(name, text.into())].into(),
            chunk: 16,
            ..Self::default()
        }
    }
}

impl Sources for Memory {
    fn open(&mut self, path: &Path) -> io::Result<Box<dyn BufRead + '_>> {
        let text = path
            .to_str()
            .and_then(|path| self.files.get(path))
            .ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(BufReader::with_capacity(
            self.chunk.max(1),
            &text[..],
        )))
    }

    fn stdin(&mut self) -> io::Result<Box<dyn BufRead + '_>> {
        Ok(Box::new(&self.stdin[..]))
    }
}

fn items(expr: &str) -> Vec<Item> {
    expand(expr, Cap::default(), &mut NoSources).unwrap()
}

fn texts(expr: &str) -> Vec<String> {
    names(expr, Cap::default(), &mut NoSources).unwrap()
}

fn named(name: &str) -> Item {
    Item::Name(name.to_owned())
}

fn addr(text: &str) -> Item {
    Item::Addr(text.parse().unwrap())
}

fn range(first: &str, last: &str) -> Item {
    Item::Range {
        first: first.parse().unwrap(),
        last: last.parse().unwrap(),
    }
}

fn prefix(text: &str) -> Item {
    Item::Prefix(text.parse().unwrap())
}

#[test]
fn an_expression_expands_in_the_order_of_scontrol() {
    for (expr, expected) in [
        ("", ""),
        (" , ,\t", ""),
        ("n1", "n1"),
        ("n[1-3,7]", "n1 n2 n3 n7"),
        ("n[09-11],n[9-11]", "n09 n10 n11 n9"),
        ("n[0,00,000]", "n0 n00 n000"),
        ("n[098-101]", "n098 n099 n100 n101"),
        ("[1-3]", "1 2 3"),
        ("a b\tc\nd,,e", "a b c d e"),
        ("a,b,a,b", "a b"),
        ("n[1-3],n[2-4]", "n1 n2 n3 n4"),
        ("a[1-2]b[3,5-6]", "a1b3 a1b5 a1b6 a2b3 a2b5 a2b6"),
        (
            "a[1,4]b[3,5]c[6,7]",
            "a1b3c6 a1b3c7 a4b3c6 a4b3c7 a1b5c6 a1b5c7 a4b5c6 a4b5c7",
        ),
        ("n[1, 3]", "n1 n03"),
        ("n[1 -3]", "n01 n02 n03"),
        ("n[+1]", "n01"),
        ("n[10-]", "n10"),
        (
            "a[18446744073709551614-18446744073709551615]",
            "a18446744073709551614 a18446744073709551615",
        ),
        (
            "n[0000000000000000000000001-2]",
            "n0000000000000000000000001 n0000000000000000000000002",
        ),
        (
            "rgw[01-03].internal",
            "rgw01.internal rgw02.internal rgw03.internal",
        ),
        ("a[1-2]b[3-4]c", "a1b3c a1b4c a2b3c a2b4c"),
        (
            "10.0.0.[1-2] 10.0.0.0/8 fd00::[9-10]",
            "10.0.0.1 10.0.0.2 10.0.0.0/8 fd00::9 fd00::10",
        ),
        (
            "10.0.0.254-10.0.1.1",
            "10.0.0.254 10.0.0.255 10.0.1.0 10.0.1.1",
        ),
        ("10.0.0.[299-300]", "10.0.0.299 10.0.0.300"),
    ] {
        let expected: Vec<_> = expected.split_whitespace().collect();
        assert_eq!(texts(expr), expected, "{expr}");
    }
}

#[test]
fn addresses_ranges_and_prefixes_are_distinguished_from_names_and_stay_compact() {
    let third = |n| {
        [
            addr(&format!("10.0.{n}.7")),
            range(&format!("10.0.{n}.9"), &format!("10.0.{n}.20")),
        ]
    };
    for (expr, expected) in [
        ("rgw[1-2].s3", vec![named("rgw1.s3"), named("rgw2.s3")]),
        ("10.0.0.1", vec![addr("10.0.0.1")]),
        ("10.0.0.[1-20]", vec![range("10.0.0.1", "10.0.0.20")]),
        ("10.0.[0-1].[7,9-20]", [third(0), third(1)].concat()),
        ("10.[0-1].0.7", vec![addr("10.0.0.7"), addr("10.1.0.7")]),
        ("10.0.0.1-10.0.0.1", vec![addr("10.0.0.1")]),
        ("10.0.0.1-10.1.0.1", vec![range("10.0.0.1", "10.1.0.1")]),
        (
            "10.0.0.0/8,10.[0-1].0.0/16",
            vec![
                prefix("10.0.0.0/8"),
                prefix("10.0.0.0/16"),
                prefix("10.1.0.0/16"),
            ],
        ),
        (
            "fd00::1 [fd00::2] fd00::/8",
            vec![addr("fd00::1"), addr("fd00::2"), prefix("fd00::/8")],
        ),
        (
            "::ffff:10.0.0.1 ::ffff:10.0.0.0/104",
            vec![addr("10.0.0.1"), prefix("10.0.0.0/8")],
        ),
        ("10.0.0.1,10.0.0.1", vec![addr("10.0.0.1")]),
        ("1", vec![named("1")]),
    ] {
        assert_eq!(items(expr), expected, "{expr}");
    }
}

#[test]
fn a_malformed_expression_is_refused_whole_with_the_column_of_the_fault() {
    use Fault::*;

    use crate::names::notation::Miss::{
        AfterAddress, Character, HostBits, NotPrefix, NotV4, NotV6, TooLong,
    };
    let text = str::to_owned;
    let dash = |meant: Option<&str>| Dash {
        meant: meant.map(text),
    };
    for (expr, column, fault) in [
        ("10.0.0.1 - 10.0.0.9", 10, dash(Some("10.0.0.1-10.0.0.9"))),
        ("10.0.0.1,-,10.0.0.9", 10, dash(Some("10.0.0.1-10.0.0.9"))),
        ("10.0.0.9 - 10.0.0.1", 10, dash(None)),
        ("n1 -", 4, dash(None)),
        ("- n1", 1, dash(None)),
        ("-,-", 1, dash(None)),
        ("n[3-1]", 3, Backwards),
        ("a,n[]", 5, NoNumber),
        ("n[1,,3]", 5, NoNumber),
        ("n[,1]", 3, NoNumber),
        ("n[1,]", 5, NoNumber),
        ("n[-1]", 3, NoNumber),
        ("n[1--3]", 5, NotDigits),
        ("n[1-2-3]", 6, NotDigits),
        ("n[a-c]", 3, NotDigits),
        ("n[1-3 ]", 6, NotDigits),
        ("n[1a-3]", 4, NotDigits),
        ("n[1-", 2, Unclosed),
        ("n[1-3,5", 2, Unclosed),
        ("n1,b[", 5, Unclosed),
        ("n[1-3]]", 7, Stray),
        ("]", 1, Stray),
        ("n[[1-2]]", 3, Nested),
        ("n1,n/2;", 7, Miss(Character(';'))),
        ("n1 é", 4, Miss(Character('é'))),
        ("n[18446744073709551616]", 3, TooBig),
        ("é,n[3-1]", 1, Miss(Character('é'))),
        ("a@b", 2, Miss(Character('@'))),
        ("@", 1, NoPath),
        ("10.0.0.300", 1, Miss(NotV4(text("10.0.0.300")))),
        ("a,10.0.0.[250-256]", 3, Miss(NotV4(text("10.0.0.256")))),
        ("10.0.0.[01-03]", 1, Miss(NotV4(text("10.0.0.01")))),
        ("10.0.0.2-10.0.0.1", 1, Backwards),
        ("a:80", 1, Miss(NotV6(text("a:80")))),
        ("n[1-2]:80", 1, Miss(NotV6(text("n1:80")))),
        ("fd00::x", 1, Miss(NotV6(text("fd00::x")))),
        ("[fd00::1]:80", 10, Miss(AfterAddress)),
        ("10.0.0.0/33", 1, Miss(NotPrefix(text("10.0.0.0/33")))),
        ("n1/8", 1, Miss(NotPrefix(text("n1/8")))),
        (
            "10.0.0.5/8",
            1,
            Miss(HostBits {
                given: text("10.0.0.5/8"),
                meant: text("10.0.0.0/8"),
            }),
        ),
    ] {
        let error = expand(expr, Cap::default(), &mut NoSources).unwrap_err();
        assert_eq!(
            (error.column(), error.fault()),
            (Some(column), Some(&fault)),
            "{expr}"
        );
    }
    let long = format!("n[{}1-2]", "0".repeat(260));
    let error = expand(&long, Cap::default(), &mut NoSources).unwrap_err();
    assert_eq!(error.fault(), Some(&Miss(TooLong)));
}

#[test]
fn an_error_shows_the_text_a_caret_and_the_remedy() {
    let error = expand("rgw[08-01].internal", Cap::default(), &mut NoSources).unwrap_err();
    assert_eq!(
        error.to_string(),
        "hostlist, column 5: the range runs backwards; write the smaller end first\n  \
         rgw[08-01].internal\n      ^"
    );
    let long = format!(
        "{}n[3-1]{}",
        "é1,".repeat(100).replace('é', "e"),
        ",n".repeat(100)
    );
    let text = expand(&long, Cap::default(), &mut NoSources)
        .unwrap_err()
        .to_string();
    let [_, shown, caret] = text.lines().collect::<Vec<_>>()[..] else {
        panic!("{text}")
    };
    assert_eq!(&shown[caret.len() - 1..][..4], "3-1]");
    assert!(shown.len() < 130);
}

#[test]
fn files_and_standard_input_hold_lines_commas_comments_and_blanks() {
    let file = "# clients\n\n10.0.0.1\r\nn[1-2], n7 # two and one\n\t10.1.0.0/16\n10.0.0.2\n10.0.0.010x\nlast";
    let mut sources = Memory::file("/list", file);
    sources.stdin = b"s[1-2]\n".to_vec();
    assert_eq!(
        names("-", Cap::default(), &mut sources).unwrap(),
        ["s1", "s2"]
    );
    let expected = [
        "a",
        "10.0.0.1",
        "n1",
        "n2",
        "n7",
        "10.1.0.0/16",
        "10.0.0.2",
        "10.0.0.010x",
        "last",
        "z",
    ];
    assert_eq!(
        names("a,@/list z", Cap::default(), &mut sources).unwrap(),
        expected
    );
}

#[test]
fn an_error_in_a_file_names_file_line_and_column() {
    for (text, place) in [
        (
            &b"n1\nn2 n[1-\n"[..],
            "/list, line 2, column 5: the bracket",
        ),
        (
            b"10.0.0.1\n10.0.0.300",
            "/list, line 2, column 1: \"10.0.0.300\"",
        ),
        (
            b"\n\n@/list",
            "/list, line 3, column 1: a file may not name",
        ),
        (b"a,-", "/list, line 1, column 3: '-' stands for"),
        (b"\n-", "/list, line 2, column 1: a file may not name"),
        (b"caf\xe9", "/list, line 1, column 4: the line is not UTF-8"),
        (
            b"n1\nn2, caf\xe9 # B\xfcro",
            "/list, line 2, column 8: the line is not UTF-8",
        ),
        (
            b"\xef\xbb\xbfn[3-1]",
            "/list, line 1, column 3: the range runs backwards",
        ),
        (
            b"n1\n\xef\xbb\xbfn2",
            "/list, line 2, column 1: '\\u{feff}' cannot be part of a name",
        ),
    ] {
        let error = expand("@/list", Cap::default(), &mut Memory::file("/list", text)).unwrap_err();
        assert!(error.to_string().starts_with(place), "{error}");
    }
    let error = expand("@/gone", Cap::default(), &mut Memory::default()).unwrap_err();
    assert!(error.to_string().starts_with("read /gone: "), "{error}");
}

#[test]
fn a_line_without_an_end_is_refused_before_it_fills_the_memory() {
    struct Zeros;
    impl Sources for Zeros {
        fn open(&mut self, _: &Path) -> io::Result<Box<dyn BufRead + '_>> {
            Ok(Box::new(BufReader::new(io::repeat(b'0'))))
        }
        fn stdin(&mut self) -> io::Result<Box<dyn BufRead + '_>> {
            self.open(Path::new(""))
        }
    }
    let error = expand("@/dev/zero", Cap::default(), &mut Zeros).unwrap_err();
    assert_eq!(error.fault(), Some(&Fault::LongLine));
}

#[test]
fn an_expansion_over_the_cap_is_refused_before_anything_is_produced() {
    for (expr, size) in [
        ("n[1-1000000],m", 1_000_001),
        ("n[1-1001][1-1000]", 1_001_000),
        ("10.0.0.0-10.255.255.255", 1 << 24),
        ("n[0-18446744073709551615]", u64::MAX),
        ("n[0-9999999999][0-9999999999]", u64::MAX),
    ] {
        let mut produced = 0;
        let error =
            visit(expr, &mut Cap::default(), &mut NoSources, |_| produced += 1).unwrap_err();
        assert_eq!(
            error.fault(),
            Some(&Fault::TooMany {
                size,
                limit: 1_000_000,
                advice: "use a prefix, or raise limits.expansion",
            }),
            "{expr}"
        );
        assert_eq!(produced, 0);
    }
    let text = "10.0.0.1\nn[1-2]\n10.0.0.2\n";
    for (limit, line) in [
        (3, "/list, line 3"),
        (2, "/list, line 2"),
        (0, "/list, line 1"),
    ] {
        let error =
            expand("@/list", Cap::new(limit), &mut Memory::file("/list", text)).unwrap_err();
        assert!(error.to_string().starts_with(line), "{error}");
    }
    assert_eq!(
        expand("@/list", Cap::new(4), &mut Memory::file("/list", text))
            .unwrap()
            .len(),
        4
    );
}

#[test]
fn servers_have_a_port_of_their_own_or_the_default() {
    for (expr, expected) in [
        (
            "rgw[01-02].internal:7480",
            "rgw01.internal:7480 rgw02.internal:7480",
        ),
        ("10.0.0.[1-2]:7481", "10.0.0.1:7481 10.0.0.2:7481"),
        ("10.0.0.1-10.0.0.2:7481", "10.0.0.1:7481 10.0.0.2:7481"),
        (
            "[fd00::1]:7480,[fd00::2],fd00::3",
            "[fd00::1]:7480 [fd00::2]:80 [fd00::3]:80",
        ),
        ("a a:80 a:81", "a:80 a:81"),
        ("[1-2]:9", "1:9 2:9"),
    ] {
        let port = NonZeroU16::new(80).unwrap();
        let got: Vec<_> = expand_servers(expr, port, Cap::default(), &mut NoSources)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(got, expected.split(' ').collect::<Vec<_>>(), "{expr}");
    }
    for (expr, column, fault) in [
        ("a:0", 3, Miss::Port),
        ("a:65536", 3, Miss::Port),
        ("a:+1", 3, Miss::Port),
        ("b,a:", 5, Miss::Port),
        ("a:[1-2]", 1, Miss::NotV6("a:1".to_owned())),
        (":80", 1, Miss::Character(':')),
        ("[fd00::1]7480", 10, Miss::AfterAddress),
        ("[fd00::1]:x", 11, Miss::Port),
        ("10.0.0.0/8", 1, Miss::PrefixAsServer),
        (
            "a,fd00::2:9000",
            3,
            Miss::Ambiguous {
                given: "fd00::2:9000".to_owned(),
                one: "[fd00::2:9000]".to_owned(),
                other: "[fd00::2]:9000".to_owned(),
            },
        ),
        (
            "http://172.31.9.2:9000",
            1,
            Miss::Url {
                given: "http://172.31.9.2:9000".to_owned(),
                meant: Some("172.31.9.2:9000".to_owned()),
            },
        ),
    ] {
        let port = NonZeroU16::new(80).unwrap();
        let error = expand_servers(expr, port, Cap::default(), &mut NoSources).unwrap_err();
        assert_eq!(
            (error.column(), error.fault()),
            (Some(column), Some(&Fault::Miss(fault))),
            "{expr}"
        );
    }
}

#[test]
fn neighbours_that_differ_in_one_number_are_folded() {
    for (names, expected) in [
        ("", ""),
        ("n1", "n1"),
        ("n01 n02 n03 n7", "n[01-03,7]"),
        ("n9 n10 n11", "n[9-11]"),
        ("n09 n10 n9 n10 n11", "n[09-10,9,11]"),
        ("n3 n2 n1", "n[3,2,1]"),
        ("a1 b1 a2", "a1,b1,a2"),
        (
            "login rgw01.s3.internal rgw02.s3.internal",
            "login,rgw[01-02].s3.internal",
        ),
        ("r1n1 r1n2 r2n1 r2n2", "r1n[1-2],r2n[1-2]"),
        ("r1n1 r2n1", "r[1-2]n1"),
        ("10.0.0.1 10.0.0.2 10.0.0.3", "10.0.0.[1-3]"),
        ("1 2 3", "[1-3]"),
        ("n n1 n2", "n,n[1-2]"),
        (
            "n99999999999999999999999 n99999999999999999999998",
            "n99999999999999999999999,n99999999999999999999998",
        ),
        (
            "n18446744073709551615 n18446744073709551614",
            "n[18446744073709551615,18446744073709551614]",
        ),
    ] {
        assert_eq!(fold(names.split_whitespace()), expected, "{names}");
    }
}
