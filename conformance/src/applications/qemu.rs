//! `qemu-io` with patterns that it verifies, and `qemu-img convert` and `compare`, all with `aio=io_uring`.

use std::os::unix::fs::FileExt;

use super::Check;
use super::session::{Failure, Program, Session, same_bytes};
use super::summary::{READS, SYNCS, TRANSFERS, WRITES};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// The size of the image that `qemu-io` works on.
const IMAGE: &str = "64M";

/// `qemu-io` keeps this many requests in flight.
const CHUNKS: u64 = 64;

/// The image that is converted: this many pieces of data, each followed by a hole of its size.
const PIECES: u64 = 128;
const PIECE: u64 = 64 * KIB;

const FORMATS: [&str; 2] = ["raw", "qcow2"];
const CACHES: [&str; 2] = ["writeback", "none"];

pub(super) fn checks() -> Vec<Check> {
    let mut checks = Vec::new();
    for cache in CACHES {
        for format in FORMATS {
            checks.push(Check::new(format!("qemu-io/patterns-{format}-{cache}"), move |session| {
                patterns(session, format, cache)
            }));
            checks.push(Check::new(format!("qemu-io/zeroes-{format}-{cache}"), move |session| {
                zeroes(session, format, cache)
            }));
        }
        for (from, to) in [("raw", "qcow2"), ("qcow2", "raw"), ("raw", "raw"), ("qcow2", "qcow2")] {
            checks.push(Check::new(format!("qemu-img/convert-{from}-to-{to}-{cache}"), move |session| {
                convert(session, from, to, cache)
            }));
        }
        checks.push(Check::new(format!("qemu-img/convert-out-of-order-{cache}"), move |session| {
            convert_out_of_order(session, cache)
        }));
        checks.push(Check::new(format!("qemu-img/compare-{cache}"), move |session| compare(session, cache)));
    }
    checks
}

/// `qemu-io` with these commands, on the image that [`create`] makes.
fn qemu_io<'a>(
    session: &'a Session,
    format: &str,
    cache: &str,
    commands: &[String],
) -> Result<Program<'a>, Failure> {
    let mut program = session.program("qemu-io")?.args(["-i", "io_uring", "-f", format, "-t", cache]);
    for command in commands {
        program = program.args(["-c", command]);
    }
    Ok(program.arg(format!("image.{format}")))
}

fn create(session: &Session, format: &str) -> Result<(), Failure> {
    session
        .helper("qemu-img")?
        .args(["create", "-q", "-f", format, &format!("image.{format}"), IMAGE])
        .succeed()?;
    Ok(())
}

/// Every command worked and every pattern was found: an asynchronous read tells only by its output.
fn all_verified(program: Program<'_>) -> Result<super::session::Ran<'_>, Failure> {
    let ran = program.succeed()?;
    if ran.output().contains("failed") {
        return Err(ran.failure("a command or a pattern failed"));
    }
    Ok(ran)
}

fn patterns(session: &Session, format: &str, cache: &str) -> Result<(), Failure> {
    create(session, format)?;
    // 64 KiB each, 96 KiB apart: for qcow2 the ends of clusters are written, too.
    let at = |command: &str, wrong: u64| -> Vec<String> {
        let line = |chunk| format!("{command} -P {} {}k 64k", chunk + 1 + wrong, chunk * 96);
        (0..CHUNKS).map(line).collect()
    };
    let flush = vec!["aio_flush".to_owned(), "flush".to_owned()];

    // All writes in flight at once, then reads one by one, then in another process all reads at once.
    let commands = [at("aio_write", 0), flush.clone(), at("read", 0)].concat();
    let ran = all_verified(qemu_io(session, format, cache, &commands)?)?;
    ran.served(CHUNKS, WRITES)?;
    ran.served(CHUNKS, READS)?;
    ran.served(1, SYNCS)?;
    let commands = [at("aio_read", 0), flush].concat();
    all_verified(qemu_io(session, format, cache, &commands)?)?.served(CHUNKS, READS)?;

    let vectors = ["writev -P 0x33 32M 4096 8192 65536", "readv -P 0x33 32M 65536 8192 4096"];
    let ran = all_verified(qemu_io(session, format, cache, &vectors.map(str::to_owned))?)?;
    ran.served(2, TRANSFERS)?;

    // A wrong pattern must be found wrong, or the above proves nothing.
    let ran = qemu_io(session, format, cache, &at("read", 1))?.run()?;
    let found = ran.output().matches("Pattern verification failed").count() as u64;
    if ran.succeeded() || found != CHUNKS {
        return Err(ran.failure(&format!("{found} wrong patterns found, expected {CHUNKS}")));
    }
    check_image(session, format)
}

fn zeroes(session: &Session, format: &str, cache: &str) -> Result<(), Failure> {
    create(session, format)?;
    let commands = [
        "write -P 9 8M 4M",
        "write -f -P 7 12M 64k",
        "flush",
        "discard 8M 64k",
        "write -z 9M 64k",
        "write -zu 10M 64k",
        "aio_write -P 5 11M 64k",
        "aio_write -z 11328k 64k",
        "aio_flush",
        "flush",
        "read -P 0 9M 64k",
        "read -P 0 10M 64k",
        "read -P 5 11M 64k",
        "read -P 0 11328k 64k",
        "read -P 9 8320k 64k",
        "read -P 9 9280k 64k",
        "read -P 7 12M 64k",
    ];
    let ran = all_verified(qemu_io(session, format, cache, &commands.map(str::to_owned))?)?;
    // Zeroing and discarding go another way. qcow2 need not read what it knows to be zero.
    ran.served(3, WRITES)?;
    ran.served(4, READS)?;
    ran.served(2, SYNCS)?;
    check_image(session, format)
}

fn check_image(session: &Session, format: &str) -> Result<(), Failure> {
    if format != "raw" {
        let image = format!("image.{format}");
        session.helper("qemu-img")?.args(["check", "-f", format, &image]).succeed()?;
    }
    Ok(())
}

/// `source.raw` with data and holes in turn, and `source.qcow2` with the same content.
fn sources(session: &Session) -> Result<(), Failure> {
    let file = std::fs::File::create_new(session.path("source.raw"))?;
    file.set_len(2 * PIECES * PIECE)?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for piece in 0..PIECES {
        let mut bytes = Vec::with_capacity(PIECE as usize);
        while bytes.len() < PIECE as usize {
            // xorshift64: nothing that compresses to zeroes or repeats.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        file.write_all_at(&bytes, 2 * piece * PIECE)?;
    }
    let arguments = ["convert", "-f", "raw", "-O", "qcow2", "source.raw", "source.qcow2"];
    session.helper("qemu-img")?.args(arguments).succeed()?;
    Ok(())
}

/// An image as `qemu-img` takes it with `--image-opts`.
fn options(file: &str, format: &str) -> String {
    format!("driver={format},file.driver=file,file.aio=io_uring,file.filename={file}")
}

fn target(session: &Session, format: &str) -> Result<String, Failure> {
    let size = (2 * PIECES * PIECE).to_string();
    let name = format!("target.{format}");
    session.helper("qemu-img")?.args(["create", "-q", "-f", format, &name, &size]).succeed()?;
    Ok(name)
}

fn convert(session: &Session, from: &str, to: &str, cache: &str) -> Result<(), Failure> {
    convert_with(session, from, to, cache, &[])
}

/// Many requests in flight, written in the order in which their reads complete.
fn convert_out_of_order(session: &Session, cache: &str) -> Result<(), Failure> {
    convert_with(session, "raw", "raw", cache, &["-m", "16", "-W"])
}

fn convert_with(session: &Session, from: &str, to: &str, cache: &str, more: &[&str]) -> Result<(), Failure> {
    sources(session)?;
    let name = target(session, to)?;
    let ran = session
        .program("qemu-img")?
        .args(["convert", "-T", cache, "-t", cache, "-n", "--target-image-opts", "--image-opts"])
        .args(more.iter().copied())
        .args([options(&format!("source.{from}"), from), options(&name, to)])
        .succeed()?;
    ran.served(PIECES, READS)?;
    ran.served(PIECES, WRITES)?;
    // Natively, whatever the side, and then byte by byte without qemu.
    session.helper("qemu-img")?.args(["compare", "-f", "raw", "-F", to, "source.raw", &name]).succeed()?;
    let arguments = ["convert", "-f", to, "-O", "raw", &name, "content.img"];
    session.helper("qemu-img")?.args(arguments).succeed()?;
    same_bytes(&session.path("source.raw"), &session.path("content.img"))
}

fn compare(session: &Session, cache: &str) -> Result<(), Failure> {
    sources(session)?;
    let compare = || -> Result<Program<'_>, Failure> {
        Ok(session
            .program("qemu-img")?
            .args(["compare", "-T", cache, "--image-opts"])
            .args([options("source.raw", "raw"), options("source.qcow2", "qcow2")]))
    };
    compare()?.succeed()?.served(2 * PIECES, READS)?;

    let file = std::fs::File::options().write(true).open(session.path("source.raw"))?;
    file.write_all_at(b"?", MIB + 5)?;
    let ran = compare()?.run()?;
    if ran.succeeded() || !ran.output().contains("Content mismatch") {
        return Err(ran.failure("a difference was not found"));
    }
    ran.served(1, READS)
}
