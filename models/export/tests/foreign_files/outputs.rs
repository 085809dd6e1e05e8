//! Output files: links and devices.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

use crate::command;

const LOSS: &str = "loss --loss svm --topk 3 --num-classes 10";

#[test]
fn a_link_is_followed_and_its_target_keeps_its_mode() {
    let folder = tempfile::tempdir().unwrap();
    let [target, link] = ["target", "link.onnx"].map(|name| folder.path().join(name));
    fs::write(&target, "").unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
    symlink(&target, &link).unwrap();
    command::write(folder.path(), &format!("{LOSS} --out link.onnx"));
    assert!(link.is_symlink());
    let written = fs::metadata(&target).unwrap();
    assert_eq!(written.mode() & 0o7777, 0o640);
    command::write(folder.path(), &format!("{LOSS} --out new.onnx"));
    let expected = fs::read(folder.path().join("new.onnx")).unwrap();
    assert_eq!(fs::read(target).unwrap(), expected);
}

/// Through a link: a program that replaced its output would replace the link, and not the device of the machine that
/// runs the test as root.
#[test]
fn devices_are_written_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("null.onnx");
    symlink("/dev/null", &link).unwrap();
    command::write(folder.path(), &format!("{LOSS} --out null.onnx"));
    assert!(link.is_symlink());
    assert!(fs::metadata(link).unwrap().file_type().is_char_device());
}
