//! Compiles the kernel side of the flow cache (`bpf/fast.bpf.c`) by clang, and holds its types against ours: both
//! sides assert what `bpf/layout.txt` says.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::{Command, exit};

/// The types by their names in C and in Rust.
const TYPES: [(&str, &str); 16] = [
    ("key4", "Key4"),
    ("key6", "Key6"),
    ("flow", "Flow"),
    ("path", "Path"),
    ("ask4", "Ask4"),
    ("ask6", "Ask6"),
    ("decision", "Decision"),
    ("made", "Made"),
    ("renewal", "Renewal"),
    ("port", "Port"),
    ("clock", "Clock"),
    ("verdict", "Verdict"),
    ("tunnel", "Tunnel"),
    ("label", "Label"),
    ("sealed", "Sealed"),
    ("own", "Own"),
];

fn main() {
    println!("cargo::rerun-if-changed=bpf");
    println!("cargo::rerun-if-env-changed=CLANG");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    write_assertions(&out);
    compile(&out);
}

fn write_assertions(out: &std::path::Path) {
    let layout = std::fs::read_to_string("bpf/layout.txt")
        .unwrap_or_else(|error| fail(&format!("bpf/layout.txt: {error}")));
    let (mut c, mut rust) = (String::new(), String::new());
    for line in layout
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [kind, field, number] = words[..] else {
            fail(&format!("bpf/layout.txt: {line:?} is not three words"));
        };
        let Some((_, ours)) = TYPES.iter().find(|(theirs, _)| *theirs == kind) else {
            fail(&format!("bpf/layout.txt: there is no type {kind}"));
        };
        if field == "size" {
            let _ = writeln!(
                c,
                "_Static_assert(sizeof(struct {kind}) == {number}, \"{line}\");"
            );
            let _ = writeln!(
                rust,
                "const _: () = assert!(size_of::<{ours}>() == {number}, \"{line}\");"
            );
        } else {
            let _ = writeln!(
                c,
                "_Static_assert(__builtin_offsetof(struct {kind}, {field}) == {number}, \"{line}\");"
            );
            let _ = writeln!(
                rust,
                "const _: () = assert!(std::mem::offset_of!({ours}, {field}) == {number}, \"{line}\");"
            );
        }
    }
    let header =
        std::fs::read("bpf/layout.h").unwrap_or_else(|error| fail(&format!("bpf/layout.h: {error}")));
    // FNV-1a: whoever has another header reads the maps of a program differently.
    let hash = header.iter().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    let _ = writeln!(
        rust,
        "/// Tells this layout from others: a hash of `bpf/layout.h`.\npub(crate) const LAYOUT: u32 = {hash};"
    );
    for (name, text) in [("layout_assert.h", c), ("layout_assert.rs", rust)] {
        if let Err(error) = std::fs::write(out.join(name), text) {
            fail(&format!("cannot write {name}: {error}"));
        }
    }
}

fn compile(out: &std::path::Path) {
    let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang".into());
    // Debian keeps <asm/types.h> where only a compiler for the machine itself looks.
    let machine = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let status = Command::new(&clang)
        .args([
            "-O2",
            "-g",
            "-target",
            "bpf",
            // Atomic operations that say what was there before (Linux 5.12; tcx came later).
            "-mcpu=v3",
            "-Wall",
            "-Werror",
            "-c",
            "bpf/fast.bpf.c",
        ])
        .arg(format!("-I/usr/include/{machine}-linux-gnu"))
        .arg("-I")
        .arg(out)
        .arg("-o")
        .arg(out.join("fast.bpf.o"))
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(_) => fail("clang could not compile bpf/fast.bpf.c (it needs libbpf-dev and linux-libc-dev)"),
        Err(error) => fail(&format!(
            "cannot run {clang}: {error}; `make setup` installs clang and libbpf-dev, which compile the eBPF program"
        )),
    }
}

fn fail(why: &str) -> ! {
    println!("cargo::error={why}");
    exit(1);
}
