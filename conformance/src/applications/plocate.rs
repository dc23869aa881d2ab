//! `plocate`, whose answers about a tree of thousands of files must be those of `find`.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use super::Check;
use super::session::{Failure, Session, installed};
use super::summary::{READS, STATS};

const DIRECTORIES: u32 = 40;
const FILES: u32 = 150;

/// How many file names `updatedb` stores in one block, which `plocate` reads at once. Its default.
const BLOCK: u64 = 32;

/// One query, as plocate takes it and as `find tree` takes it.
struct Query {
    name: &'static str,
    plocate: &'static [&'static str],
    find: &'static [&'static str],
}

const QUERIES: &[Query] = &[
    Query { name: "substring", plocate: &["file-0010"], find: &["-path", "*file-0010*"] },
    Query { name: "everything", plocate: &[".txt"], find: &["-path", "*.txt*"] },
    Query { name: "ignore-case", plocate: &["-i", "FILE-00"], find: &["-ipath", "*FILE-00*"] },
    Query { name: "basename", plocate: &["-b", "dir-"], find: &["-name", "*dir-*"] },
    Query {
        name: "both-of-two",
        plocate: &["dir-3", "77.txt"],
        find: &["-path", "*dir-3*", "-path", "*77.txt*"],
    },
    Query { name: "glob", plocate: &["*dir-1?/*9.txt"], find: &["-path", "*dir-1?/*9.txt"] },
    Query { name: "names-in-utf-8", plocate: &["größe und"], find: &["-path", "*größe und*"] },
    Query { name: "nothing", plocate: &["file-9999"], find: &["-path", "*file-9999*"] },
];

pub(super) fn checks() -> Vec<Check> {
    let mut checks = Vec::new();
    for query in QUERIES {
        checks.push(Check::new(format!("plocate/{}", query.name), move |session| run(session, query)));
    }
    checks.push(Check::new("plocate/existing", existing));
    checks
}

/// The tree, its database and a copy of plocate that is not set-gid: a preload does not reach those.
fn prepare(session: &Session) -> Result<(), Failure> {
    for directory in 0..DIRECTORIES {
        let path = session.path(&format!("tree/dir-{directory}"));
        std::fs::create_dir_all(&path)?;
        for file in 0..FILES {
            let word = if file % 30 == 7 { "größe und länge" } else { "file" };
            let tail = (directory * FILES + file) % 97;
            std::fs::write(path.join(format!("{word}-{file:04}-{tail}.txt")), "")?;
        }
    }
    let copy = session.path("plocate");
    std::fs::copy(installed("plocate")?, &copy)?;
    std::fs::set_permissions(&copy, Permissions::from_mode(0o755))?;
    let tree = session.path("tree");
    session
        .helper("updatedb.plocate")?
        .arg("--database-root")
        .arg(tree)
        .args(["--output", "database", "--require-visibility", "no"])
        // The machine's own configuration may leave out temporary directories and file systems.
        .args(["--prunepaths", "", "--prunenames", "", "--prunefs", "", "--prune-bind-mounts", "no"])
        .succeed()?;
    Ok(())
}

/// What a query found. Its paths end with a zero byte.
fn paths(output: &[u8]) -> Vec<String> {
    let mut paths: Vec<_> = output
        .split(|byte| *byte == 0)
        .filter(|path| !path.is_empty())
        .map(|path| String::from_utf8_lossy(path).into_owned())
        .collect();
    paths.sort_unstable();
    paths
}

fn find(session: &Session, conditions: &[&str]) -> Result<Vec<String>, Failure> {
    let tree = session.path("tree");
    let ran = session.helper("find")?.arg(tree).args(conditions.iter().copied()).arg("-print0").succeed()?;
    Ok(paths(ran.stdout()))
}

/// Runs plocate, compares with what is expected, and counts the requests.
fn compare(session: &Session, options: &[&str], expected: &[String], stats: u64) -> Result<(), Failure> {
    let ran = session
        .program(session.path("plocate"))?
        .args(["-d", "database", "-0"])
        .args(options.iter().copied())
        .run()?;
    let found = paths(ran.stdout());
    if found != expected {
        let missing: Vec<_> = expected.iter().filter(|path| !found.contains(path)).take(5).collect();
        let strange: Vec<_> = found.iter().filter(|path| !expected.contains(path)).take(5).collect();
        return Err(ran.failure(&format!(
            "{} found, {} expected; missing: {missing:?}; not expected: {strange:?}",
            found.len(),
            expected.len()
        )));
    }
    // Status 1 says that nothing was found.
    if ran.succeeded() == expected.is_empty() {
        return Err(ran.failure("the exit status does not fit what was found"));
    }
    // One lookup at least, also when nothing is found, and the blocks that hold the names.
    ran.served(1 + (expected.len() as u64).div_ceil(BLOCK), READS)?;
    ran.served(stats, STATS)
}

fn run(session: &Session, query: &Query) -> Result<(), Failure> {
    prepare(session)?;
    let expected = find(session, query.find)?;
    if expected.is_empty() != (query.name == "nothing") {
        return Err(Failure::because("find itself found something else than the tree was made for"));
    }
    compare(session, query.plocate, &expected, 0)
}

/// With `--existing` plocate asks for each name in the database whether it is still there.
fn existing(session: &Session) -> Result<(), Failure> {
    prepare(session)?;
    let before = find(session, &["-path", "*file-*"])?;
    for path in before.iter().step_by(3) {
        std::fs::remove_file(path)?;
    }
    let after = find(session, &["-path", "*file-*"])?;
    if after.len() >= before.len() {
        return Err(Failure::because("nothing was removed"));
    }
    compare(session, &["--existing", "file-"], &after, before.len() as u64)
}
