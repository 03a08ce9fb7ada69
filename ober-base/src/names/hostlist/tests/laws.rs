//! Laws that hold for every expression.

use super::*;

/// Random pieces of the grammar, so that random text is nearly an expression.
fn near_expressions() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-c.:/@#_-]",
        "[0-9]{1,3}",
        "[\\[\\],\\- \n]",
        "n\\[[0-9]{1,2}-[0-9]{1,2}\\]",
        "10\\.0\\.0\\.",
        "fd00::",
        ".",
        "[0-9]{18,22}"
    ];
    proptest::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

fn element() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9]{1,3}",
        (0..300u32, 0..12u32, 1..4usize)
            .prop_map(|(lo, more, width)| format!("{lo:0width$}-{}", lo + more)),
    ]
}

/// Well-formed terms of names, as text; the tests compute their size.
fn expressions() -> impl Strategy<Value = String> {
    let set = proptest::collection::vec(element(), 1..4).prop_map(|e| format!("[{}]", e.join(",")));
    let term =
        proptest::collection::vec(prop_oneof!["[a-z][a-z._-]{0,2}".boxed(), set.boxed()], 1..5);
    let term = term.prop_map(|parts| format!("x{}", parts.concat()));
    proptest::collection::vec(term, 0..4).prop_map(|terms| terms.join(","))
}

/// How many names or addresses an item stands for.
fn weight(item: &Item) -> u64 {
    match item {
        Item::Range { first, last } => u64::from(last.to_bits() - first.to_bits()) + 1,
        Item::Name(_) | Item::Addr(_) | Item::Prefix(_) => 1,
    }
}

proptest! {
    #[test]
    fn expanding_an_arbitrary_expression_never_panics_and_keeps_the_cap(text in prop_oneof![near_expressions(), ".{0,40}"], chunk in 1..9usize) {
        let mut sources = Memory::file("f", text.clone());
        sources.chunk = chunk;
        let cap = Cap::new(1000);
        for expr in [text.as_str(), "@f"] {
            let mut used = cap;
            let mut weighed = 0;
            let visited = visit(expr, &mut used, &mut sources, |item| weighed += weight(&item));
            prop_assert!(weighed <= used.used() && used.used() <= 1000);
            match visited {
                Ok(()) => prop_assert_eq!(weighed, used.used()),
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
            let listed = names(expr, cap, &mut sources);
            prop_assert!(listed.is_err() || listed.unwrap().len() <= 1000);
            let servers = expand_servers(expr, NonZeroU16::MIN, cap, &mut sources);
            prop_assert!(servers.is_err() || servers.unwrap().len() <= 1000);
        }
        prop_assert!(fold([text.as_str(), "n1", "n2"]).len() >= text.len());
    }

    #[test]
    fn the_computed_size_of_an_expansion_and_its_cap_are_exact(expr in expressions()) {
        let mut cap = Cap::default();
        let all = every_name(&expr, &mut cap, &mut NoSources);
        prop_assume!(all.is_ok());
        let size = all.unwrap().len();
        prop_assert_eq!(cap.used(), size as u64);
        prop_assert!(names(&expr, Cap::new(size), &mut NoSources).is_ok());
        if size > 0 {
            prop_assert!(names(&expr, Cap::new(size - 1), &mut NoSources).is_err());
        }
    }

    #[test]
    fn expanding_a_folded_list_gives_its_names_without_duplicates(
        listed in proptest::collection::vec("[ab][0-9]{0,3}(\\.?[c-][0-9]{1,2})?|[0-9]{1,21}|n[0-9]|n0[0-9]", 0..40)
    ) {
        let mut expected = listed.clone();
        drop_duplicates(&mut expected);
        let folded = fold(listed.iter().map(String::as_str));
        prop_assert_eq!(texts(&folded), expected, "{}", folded);
    }

    #[test]
    fn a_list_in_a_file_means_the_same_as_in_an_expression(
        lines in proptest::collection::vec(
            prop_oneof!["[0-9]{1,3}(\\.[0-9]{1,3}){3}\r?", "(1?[0-9]{1,2}\\.){3}2?[0-4]", "n[0-9]{0,2}", " ?", "10\\.0\\.0\\.\\[1-9\\]"],
            0..12
        ),
        chunk in 1..40usize,
    ) {
        let mut sources = Memory::file("f", lines.join("\n"));
        sources.chunk = chunk;
        let from_file = expand("@f", Cap::default(), &mut sources);
        let direct = expand(&lines.join(","), Cap::default(), &mut NoSources);
        let fault = |error: Error| error.fault().cloned();
        prop_assert_eq!(from_file.map_err(fault), direct.map_err(fault));
    }
}
