//! How storages could read the path of a request. Some decode it (`%61` is `a`) and use it so; others then fold `//`,
//! `/./` and `/x/../` as a file system does, or decode it once more. A client must not get around a rule by another
//! spelling, so each path is read in all these ways. A path that is still not plain afterwards is `unclear` and counts
//! as denied.

use super::{
    Error,
    text::{Lines, quote},
};

/// Nested levels of `x/../` that are folded; a path with more is unclear.
const LEVELS: usize = 4;
/// A segment that is neither `.` nor `..`, followed by `..`. Without look-around, because HAProxy may be built without
/// PCRE.
const UP: &str = "([^/.][^/]*|[.][^/.][^/]*|[.][.][^/]+)/[.][.](/|$)";
/// Marks of a path that storages may read differently: segments of dots (for some, `;` ends a segment), doubled
/// slashes, encoded letters.
const UNCLEAR: &str = "(^|/)[.][.]?(;|/|$)|//|%[0-9A-Fa-f][0-9A-Fa-f]";
const ENCODED: &str = "%[0-9A-Fa-f][0-9A-Fa-f]";

/// Sets `txn.path0` (as it came), `txn.path1` (decoded), `txn.path2` (folded), `txn.path3` (decoded and folded once more), and
/// `txn.unclear`.
pub(super) fn readings(lines: &mut Lines) {
    let fold = fold();
    lines.add("http-request set-var(txn.path0) path");
    lines.add("http-request set-var(txn.path1) path,url_dec");
    lines.add(format_args!(
        "http-request set-var(txn.path2) 'var(txn.path1),{fold}'"
    ));
    lines.add(format_args!(
        "http-request set-var(txn.path3) 'var(txn.path2),url_dec,{fold}'"
    ));
    // A lone `%` that begins no code is a plain letter.
    lines.add(format_args!(
        "http-request set-var(txn.path3) var(txn.path2) if !{{ var(txn.path3) -m found }} \
         !{{ var(txn.path2) -m reg {ENCODED} }}"
    ));
    for condition in [
        "!{ var(txn.path3) -m found }".to_owned(),
        format!("{{ var(txn.path3) -m reg '{UNCLEAR}' }}"),
        // Some storages end a string at a zero byte.
        "{ path -m sub %00 %2500 }".to_owned(),
    ] {
        lines.add(format_args!(
            "http-request set-var(txn.unclear) bool(true) if {condition}"
        ));
    }
}

fn fold() -> String {
    let all = |expression: &str, by: &str| format!("regsub(\"{expression}\",\"{by}\",g)");
    let mut steps = vec![all("/([.]?/)+", "/"), all("/[.]$", "/")];
    steps.extend(std::iter::repeat_n(all(UP, ""), LEVELS));
    steps.push(all("^(/[.][.])+(/|$)", "/"));
    steps.join(",")
}

/// The condition that a path begins with `path`: for a rule that denies, in any reading; for one that allows, in all of
/// them.
pub(super) fn begins(
    lines: &mut Lines,
    name: &str,
    path: &str,
    allow: bool,
) -> Result<String, Error> {
    let path = quote("path", path)?;
    if allow {
        let all = ["path1", "path2", "path3"]
            .map(|reading| format!("{{ var(txn.{reading}) -m beg -- {path} }}"));
        return Ok(format!("{} !{{ var(txn.unclear) -m bool }}", all.join(" ")));
    }
    for reading in ["path0", "path1", "path2", "path3"] {
        lines.add(format_args!(
            "acl {name} var(txn.{reading}) -m beg -- {path}"
        ));
    }
    lines.add(format_args!("acl {name} var(txn.unclear) -m bool"));
    Ok(name.to_owned())
}
