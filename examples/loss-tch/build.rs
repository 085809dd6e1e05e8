//! Writes the folder of libtorch into the program as its run path, so that the program starts without
//! `LD_LIBRARY_PATH`.

fn main() {
    if let Ok(folder) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
    }
}
