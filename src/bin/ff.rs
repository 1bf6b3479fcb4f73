//! The command line of flowfabric-sql; everything it does is in the library.

fn main() -> std::process::ExitCode {
    flowfabric_sql::cli::main()
}
