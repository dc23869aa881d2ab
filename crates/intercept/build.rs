//! Linker options of the shared object.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // What the engine itself calls by an interposed name (`close`, `syscall`, `mmap`) stays inside.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-Bsymbolic-functions");
    // Never unloaded: the filter cannot be removed, and its handler lies here.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // No symbol is looked up inside a signal handler.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,now");
}
