use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Reads one image, and turns a panic, such as of a decoder, into an error. The panic's message is printed too,
/// because only a hook of the whole process could suppress it.
///
/// What `read` changes must not be used after a panic, or be overwritten first.
///
/// # Errors
/// That of `read`, or what the panic said.
pub fn contained<T, E: From<String>>(read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        Err(E::from(format!(
            "the decoder failed with an internal error ({}); please report this with the file",
            message(&*panic)
        )))
    })
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        let error = contained::<(), String>(|| panic!("index {} out of range", 3)).unwrap_err();
        assert!(error.contains("(index 3 out of range)"), "{error}");
        let error = contained::<(), String>(|| panic!("plain")).unwrap_err();
        assert!(error.contains("(plain)"), "{error}");
        assert_eq!(contained(|| Ok::<_, String>(1)), Ok(1));
        assert_eq!(
            contained(|| Err::<(), _>("no".to_owned())),
            Err("no".to_owned())
        );
    }
}
