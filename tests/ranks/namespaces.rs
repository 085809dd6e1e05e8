//! Ranks on two machines, as far as the network is concerned: each in a network namespace of its own.

use std::fs;
use std::process::Command;

use topk_testing::{Requirement, free_port, skip};

use crate::processes::{Case, LIMIT, Processes};
use crate::results::results;

/// Joins two namespaces by a cable, and runs `$1` with rank 0 here and rank 1 there. Ends with 99 if it cannot.
const SCRIPT: &str = r#"
    program=$1 port=$2
    ip link set lo up || exit 99
    unshare -n sleep 600 &
    other=$!
    trap 'kill $other' EXIT
    until [ "$(readlink /proc/$other/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do
        kill -0 $other || exit 99
    done
    ip link add here type veth peer name there netns $other || exit 99
    ip address add 10.11.12.1/24 dev here && ip link set here up || exit 99
    in_other() { nsenter --net=/proc/$other/ns/net "$@"; }
    in_other ip address add 10.11.12.2/24 dev there || exit 99
    in_other ip link set there up && in_other ip link set lo up || exit 99
    export WORLD_SIZE=2 LOCAL_WORLD_SIZE=1 LOCAL_RANK=0 MASTER_ADDR=10.11.12.1 MASTER_PORT=$port
    RANK=1 in_other sh -c "$program" &
    second=$!
    RANK=0 sh -c "$program" || exit 1
    wait $second
"#;

#[test]
fn ranks_in_two_networks_are_ranks() {
    let case = Case::new(
        150,
        &[
            "--model=basic-4",
            "--val-size=50",
            "--epochs=2",
            "--batch-size=6",
        ],
    );
    let program = case.command("two", &[]);
    let words: Vec<String> = std::iter::once(program.get_program())
        .chain(program.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let mut command = Command::new("unshare");
    command.args(["-rn", "sh", "-c", SCRIPT, "sh", &words.join(" ")]);
    command.arg(free_port().to_string());
    let can = Command::new("unshare").args(["-rn", "ip", "link"]).output();
    let end = match can {
        Ok(output) if output.status.success() => {
            Processes::start(vec![command]).wait(LIMIT).remove(0)
        }
        _ => {
            return skip(
                Requirement::UserNamespaces,
                "users cannot make network namespaces",
            );
        }
    };
    if end.status.code() == Some(99) {
        return skip(
            Requirement::UserNamespaces,
            &format!("network namespaces cannot be connected: {}", end.errors),
        );
    }
    assert!(end.status.success(), "{end:?}");
    case.finish_ranks("loopback", 2, &[]);
    let found = results(&case.path("two"));
    for (name, bytes) in results(&case.path("loopback")) {
        assert!(found[name] == bytes, "{name} differs");
    }
    assert!(fs::exists(case.path("two/run.html")).unwrap());
}
