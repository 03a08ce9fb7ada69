//! Lines of files: their first bytes, their comments, and their length.

use super::*;

#[test]
fn a_byte_order_mark_at_the_start_of_a_file_and_any_bytes_in_a_comment_are_skipped() {
    for (text, expected) in [
        (
            &b"\xef\xbb\xbf10.0.0.1\n10.0.0.2\n"[..],
            &["10.0.0.1", "10.0.0.2"][..],
        ),
        (b"\xef\xbb\xbf# clients\nn1\n", &["n1"]),
        (b"\xef\xbb\xbf", &[]),
        (b"10.0.0.1 # B\xfcro\n# caf\xe9\nn2", &["10.0.0.1", "n2"]),
    ] {
        let mut sources = Memory::file("/list", text);
        sources.stdin = text.to_vec();
        for expr in ["@/list", "-"] {
            assert_eq!(
                names(expr, Cap::default(), &mut sources).unwrap(),
                expected,
                "{text:?}"
            );
        }
    }
}

#[test]
fn no_line_of_a_folded_expression_is_longer_than_a_file_may_have() {
    // No two numbers are neighbours, so no range shortens them.
    let one_bracket = |n: u32| format!("n{}", 2 * n + 1_000_001);
    let no_bracket = |n: u32| {
        format!(
            "{}{}",
            if n.is_multiple_of(2) { 'a' } else { 'b' },
            n + 1_000_000
        )
    };
    for scattered in [
        (0..900_000).map(one_bracket).collect::<Vec<String>>(),
        (0..600_000).map(no_bracket).collect(),
    ] {
        let folded = fold(scattered.iter().map(String::as_str));
        let lengths: Vec<usize> = folded.lines().map(str::len).collect();
        assert_eq!(lengths.len(), 2, "{lengths:?}");
        assert!(
            lengths.iter().all(|&length| length <= 4 << 20),
            "{lengths:?}"
        );
        let mut sources = Memory::file("/list", folded);
        sources.chunk = 1 << 16;
        let read = names("@/list", Cap::default(), &mut sources).unwrap();
        assert!(read == scattered);
    }
}
