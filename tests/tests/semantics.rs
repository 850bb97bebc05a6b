//! docs/semantics.md names a test for each promise. Here: that each of those tests exists and runs.
//!
//! A name is `target::modules::function`. The target is a crate, for tests inside it (`quorate_state`), or a program of
//! integration tests by its name (`cluster` for `tests/tests/cluster/main.rs`). Modules are followed from its first file,
//! as the compiler does: `mod name;`, `#[path]`, and `mod name {`.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

const DOCUMENT: &str = "docs/semantics.md";
const NOT_YET: &str = "not yet";
const HEADER: [&str; 2] = ["promise", "test"];

/// A row of one of the document's tables.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    line: usize,
    promise: String,
    /// None: there is no test yet.
    tests: Vec<String>,
}

/// What the check found.
#[derive(Debug, Default)]
struct Findings {
    rows: usize,
    not_yet: usize,
    violations: Vec<String>,
}

/// The cells of a table's line; `None` when it is not one. A `\|` is no border.
fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    let inner = inner.replace("\\|", "\u{0}");
    Some(inner.split('|').map(|cell| cell.trim().replace('\u{0}', "|")).collect())
}

/// The names in backticks, when the cell holds nothing else but commas.
fn names(cell: &str) -> Option<Vec<String>> {
    let parts: Vec<&str> = cell.split('`').collect();
    let outside = parts.iter().step_by(2).all(|text| matches!(text.trim(), "" | ","));
    let names: Vec<String> = parts.iter().skip(1).step_by(2).map(|name| (*name).to_owned()).collect();
    (outside && parts.len() % 2 == 1 && !names.is_empty()).then_some(names)
}

/// All rows, or what is wrong with them.
fn rows(document: &str) -> (Vec<Row>, Vec<String>) {
    let (mut rows, mut violations, mut within) = (Vec::new(), Vec::new(), false);
    for (number, line) in (1..).zip(document.lines()) {
        let Some(cells) = cells(line) else {
            within = false;
            continue;
        };
        if !within {
            within = true;
            if cells != HEADER {
                violations.push(format!("line {number}: a table of {cells:?} is not one of promises"));
            }
            continue;
        }
        match cells.as_slice() {
            [dashes, _] if !dashes.is_empty() && dashes.chars().all(|c| matches!(c, '-' | ':')) => {}
            [promise, test] if !promise.is_empty() => {
                let tests = if test == NOT_YET { Some(Vec::new()) } else { names(test) };
                match tests {
                    Some(tests) => rows.push(Row { line: number, promise: promise.clone(), tests }),
                    None => {
                        violations.push(format!("line {number}: `{test}` is neither tests nor {NOT_YET}"))
                    }
                }
            }
            _ => violations
                .push(format!("line {number}: {} cells, and not a promise and its test", cells.len())),
        }
    }
    (rows, violations)
}

/// Checks the document of the workspace at `root`.
fn check(root: &Path) -> Result<Findings, String> {
    let document = read(&root.join(DOCUMENT))?;
    let (rows, violations) = rows(&document);
    let mut findings = Findings { rows: rows.len(), violations, ..Findings::default() };
    let mut promises = BTreeSet::new();
    for row in &rows {
        let mut report = |what: String| findings.violations.push(format!("line {}: {what}", row.line));
        if !promises.insert(&row.promise) {
            report(format!("promised twice: {}", row.promise));
        }
        for test in &row.tests {
            if let Err(found) = find(root, test) {
                report(format!("{test}: {found}"));
            }
        }
        findings.not_yet += usize::from(row.tests.is_empty());
    }
    if findings.rows == findings.not_yet {
        findings.violations.push("no promise has a test".to_owned());
    }
    Ok(findings)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// The folders of the workspace's crates, in the order of its members.
fn members(root: &Path) -> Result<Vec<PathBuf>, String> {
    let manifest = read(&root.join("Cargo.toml"))?;
    let (_, list) = manifest.split_once("members = [").ok_or("no members in Cargo.toml")?;
    let list = list.split(']').next().unwrap_or_default();
    Ok(list.split('"').skip(1).step_by(2).map(|member| root.join(member)).collect())
}

/// Looks for a test by its whole name; `Err` says why it is not one that runs.
fn find(root: &Path, name: &str) -> Result<(), String> {
    let mut segments = name.split("::");
    let target = segments.next().unwrap_or_default();
    let mut modules: Vec<&str> = segments.collect();
    let function = modules.pop().ok_or("it is no target::modules::function")?;
    let mut file = first_file(root, target)?;
    let mut is_first = true;
    for module in modules {
        if let Some(next) = module_file(&file, is_first, module)? {
            (file, is_first) = (next, false);
        }
    }
    has_test(&read(&file)?, function).map_err(|found| format!("{found} in {}", file.display()))
}

/// The first source file of a crate or of a program of integration tests.
fn first_file(root: &Path, target: &str) -> Result<PathBuf, String> {
    let mut found = Vec::new();
    for member in members(root)? {
        let manifest = read(&member.join("Cargo.toml"))?;
        let name = manifest.lines().find_map(|line| line.strip_prefix("name = "));
        let is_crate = name.is_some_and(|name| name.trim_matches('"').replace('-', "_") == target);
        let candidates = if is_crate {
            vec![member.join("src/lib.rs"), member.join("src/main.rs")]
        } else {
            let tests = member.join("tests");
            vec![tests.join(format!("{target}.rs")), tests.join(target).join("main.rs")]
        };
        found.extend(candidates.into_iter().find(|path| path.is_file()));
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(format!("no crate and no program of tests is called {target}")),
        _ => Err(format!("{target} may be any of {found:?}")),
    }
}

/// Where `module` of `file` is; `None`: within it. `is_first`: `file` is the first of its target, or a `mod.rs`.
fn module_file(file: &Path, is_first: bool, module: &str) -> Result<Option<PathBuf>, String> {
    let source = read(file)?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut path = None;
    for line in source.lines().map(str::trim) {
        if let Some(given) = line.strip_prefix("#[path = \"") {
            path = given.split('"').next();
            continue;
        }
        let declared = after_visibility(line).strip_prefix("mod ").and_then(|rest| rest.strip_prefix(module));
        match declared.map(str::trim) {
            Some("{") => return Ok(None),
            Some(";") => {
                if let Some(path) = path {
                    return Ok(Some(folder.join(path)));
                }
                let owns_folder = is_first || file.file_name().is_some_and(|name| name == "mod.rs");
                let stem = file.file_stem().unwrap_or_default();
                let folder = if owns_folder { folder.to_owned() } else { folder.join(stem) };
                let candidates = [folder.join(format!("{module}.rs")), folder.join(module).join("mod.rs")];
                return candidates
                    .into_iter()
                    .find(|path| path.is_file())
                    .map(Some)
                    .ok_or_else(|| format!("module {module} of {} has no file", file.display()));
            }
            _ if line.starts_with("#[") => {}
            _ => path = None,
        }
    }
    Err(format!("no module {module} in {}", file.display()))
}

/// A line without a leading `pub` or `pub(...)`.
fn after_visibility(line: &str) -> &str {
    let Some(rest) = line.strip_prefix("pub") else { return line };
    match rest.strip_prefix('(') {
        Some(rest) => rest.split_once(')').map_or(line, |(_, rest)| rest.trim_start()),
        None => rest.trim_start(),
    }
}

/// Whether the source has this test and runs it. A function of a `proptest!` has its `#[test]` too.
fn has_test(source: &str, function: &str) -> Result<(), String> {
    let mut attributes = Vec::new();
    for line in source.lines().map(str::trim) {
        let item = after_visibility(line);
        let item = item.strip_prefix("async ").unwrap_or(item);
        let named = item.strip_prefix("fn ").and_then(|rest| rest.strip_prefix(function));
        if named.is_some_and(|rest| rest.starts_with(['(', '<'])) {
            let is_test = |line: &&str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            if !attributes.iter().any(is_test) {
                return Err(format!("{function} is no test"));
            }
            return match attributes.iter().find(|line| line.starts_with("#[ignore")) {
                Some(_) => Err(format!("{function} is ignored")),
                None => Ok(()),
            };
        }
        if line.starts_with("#[") {
            attributes.push(line);
        } else if !line.starts_with("//") {
            attributes.clear();
        }
    }
    Err(format!("no function {function}"))
}

#[test]
fn every_test_that_the_table_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let findings = check(&root).unwrap();
    let Findings { rows, not_yet, violations } = &findings;
    assert!(violations.is_empty(), "{DOCUMENT}:\n{}", violations.join("\n"));
    if *not_yet > 0 {
        // Not by a macro: the output of a test that passes is not shown.
        let told = writeln!(
            std::io::stderr(),
            "LEFT OUT: {not_yet} of {rows} promises of {DOCUMENT} have no test yet"
        );
        told.unwrap();
    }
}

/// A workspace with one crate and one program of tests, and this document.
fn workspace(document: &str) -> std::io::Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    let files = [
        ("Cargo.toml", "[workspace]\nmembers = [\"one\", \"two\"]\n"),
        ("one/Cargo.toml", "[package]\nname = \"some-crate\"\n"),
        ("one/src/lib.rs", "pub(crate) mod noun;\nmod deep;\n"),
        ("one/src/noun.rs", "fn code() {}\n\n#[cfg(test)]\n#[path = \"noun_tests.rs\"]\nmod tests;\n"),
        ("one/src/noun_tests.rs", "#[test]\nfn apart() {}\n"),
        (
            "one/src/deep/mod.rs",
            "mod inner;\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn inline() {}\n}\n",
        ),
        ("one/src/deep/inner.rs", "#[cfg(test)]\nmod tests;\n"),
        (
            "one/src/deep/inner/tests.rs",
            "proptest! {\n    #[test]\n    fn property(seed: u64) {}\n}\n#[test]\n#[ignore]\nfn idle() {}\n",
        ),
        ("one/tests/twice.rs", "#[test]\nfn a() {}\n"),
        ("two/Cargo.toml", "[package]\nname = \"other\"\n"),
        ("two/tests/twice.rs", "#[test]\nfn a() {}\n"),
        ("two/tests/cluster/main.rs", "mod part;\n"),
        (
            "two/tests/cluster/part.rs",
            "// fn comment()\nfn helper() {}\n\n/// Why.\n#[tokio::test(flavor = \"multi_thread\")]\nasync fn runs() {}\n",
        ),
        (DOCUMENT, document),
    ];
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap_or(dir.path()))?;
        fs::write(path, text)?;
    }
    Ok(dir)
}

fn findings(table: &str) -> Result<Findings, String> {
    let document = format!("# Semantics\n\nText.\n\n| promise | test |\n|---|---|\n{table}");
    let dir = workspace(&document).map_err(|error| error.to_string())?;
    check(dir.path())
}

#[test]
fn tests_are_found_wherever_the_compiler_finds_them() {
    let found = findings(
        "| apart | `some_crate::noun::tests::apart` |\n\
         | inline | `some_crate::deep::tests::inline` |\n\
         | property | `some_crate::deep::inner::tests::property` |\n\
         | two tests | `cluster::part::runs`, `some_crate::deep::tests::inline` |\n\
         | a \\| b | not yet |\n",
    )
    .unwrap();
    assert_eq!(found.violations, Vec::<String>::new());
    assert_eq!((found.rows, found.not_yet), (5, 1));
}

#[test]
fn a_row_whose_test_does_not_exist_or_run_is_reported() {
    let table = [
        ("`cluster::part::made_up`", "no function made_up"),
        ("`cluster::part::run`", "no function run"),
        ("`cluster::part::helper`", "helper is no test"),
        ("`cluster::part::comment`", "no function comment"),
        ("`cluster::made_up::runs`", "no module made_up"),
        ("`made_up::part::runs`", "no crate and no program of tests is called made_up"),
        ("`runs`", "it is no target::modules::function"),
        ("`some_crate::deep::inner::tests::idle`", "idle is ignored"),
        ("`some_crate::noun::apart`", "no function apart"),
        ("`twice::a`", "twice may be any of"),
        ("`cluster::part::runs` `cluster::part::made_up`", "no function made_up"),
    ];
    for (test, expected) in table {
        let found =
            findings(&format!("| sound | `cluster::part::runs` |\n| a promise | {test} |\n")).unwrap();
        let [violation] = found.violations.as_slice() else { panic!("{test}: {found:?}") };
        assert!(violation.starts_with("line 8: ") && violation.contains(expected), "{test}: {violation}");
    }
}

#[test]
fn what_is_no_row_is_reported() {
    let table = [
        ("| a promise | somehow |", "neither tests nor not yet"),
        ("| a promise | see `cluster::part::runs` |", "neither tests nor not yet"),
        ("| a promise | |", "neither tests nor not yet"),
        ("| | `cluster::part::runs` |", "not a promise and its test"),
        ("| a promise | `cluster::part::runs` | more |", "3 cells"),
        ("| sound | `cluster::part::runs` |", "promised twice"),
        ("\n| another | table |", "is not one of promises"),
    ];
    for (line, expected) in table {
        let found = findings(&format!("| sound | `cluster::part::runs` |\n{line}\n")).unwrap();
        let [violation] = found.violations.as_slice() else { panic!("{line}: {found:?}") };
        assert!(violation.contains(expected), "{line}: {violation}");
    }
    assert_eq!(findings("| a promise | not yet |\n").unwrap().violations, ["no promise has a test"]);
}
