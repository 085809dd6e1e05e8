//! Reading from servers that fail: every answer must be the object's bytes, or an error that says what happened.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use topk_remote::{Client, Kind, Options, RemoteError, Retries};
use topk_testing::{Fault, ObjectServer};

const KEY: &str = "AKIDTESTTESTTEST";
const SECRET: &str = "verysecretsecretkey";
const BLOCK: usize = 1000;

fn contents(length: usize, seed: u8) -> Vec<u8> {
    (0..length)
        .map(|i| (i / 251) as u8 ^ (i % 251) as u8 ^ seed)
        .collect()
}

fn options(server: &ObjectServer) -> Options {
    let variables = [
        ("AWS_ENDPOINT_URL", server.endpoint()),
        ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ("HF_ENDPOINT", server.endpoint()),
    ];
    Options {
        variables: variables
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
        memory: 16 * BLOCK,
        block: BLOCK,
        retries: Retries {
            first_wait: Duration::from_millis(1),
            tries: 6,
            ..Retries::default()
        },
        ..Options::default()
    }
}

fn signed() -> ObjectServer {
    ObjectServer::signed(KEY, SECRET)
}

fn read(client: &Arc<Client>, path: &str) -> Result<Vec<u8>, RemoteError> {
    let object = client.open(Path::new(path))?;
    let mut bytes = vec![0; object.size() as usize];
    object.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[test]
fn ranges_of_an_object_are_its_bytes() {
    let server = signed();
    let expected = contents(10_500, 0);
    server.put("bucket/folder/a b+c.bin", expected.clone());
    let client = Client::new(options(&server)).unwrap();
    let object = client
        .open(Path::new("s3://bucket/folder/a b+c.bin"))
        .unwrap();
    assert_eq!(object.size(), 10_500);
    for (offset, length) in [
        (0, 1),
        (999, 2),
        (1000, 1000),
        (500, 3000),
        (10_000, 500),
        (3, 0),
    ] {
        let mut bytes = vec![0; length];
        object.read_exact_at(&mut bytes, offset as u64).unwrap();
        assert_eq!(
            bytes,
            expected[offset..offset + length],
            "{offset} {length}"
        );
    }
    let error = object
        .read_exact_at(&mut [0; 2], 10_499)
        .unwrap_err()
        .to_string();
    assert!(error.contains("it ends at byte 10500"), "{error}");
    let gets = server
        .take_requests()
        .iter()
        .filter(|request| request.method == "GET")
        .count();
    assert_eq!(gets, 5, "blocks 0 to 3 and 10, once each");
}

#[test]
fn failures_are_retried_and_counted() {
    let server = signed();
    let expected = contents(20_000, 1);
    server.put("bucket/x", expected.clone());
    server.fail(|request| match request.number {
        1 => Some(Fault::Status(503)),
        3 | 4 => Some(Fault::Status(500)),
        6 | 9 => Some(Fault::Break(300)),
        12 => Some(Fault::Status(429)),
        _ => None,
    });
    let client = Client::new(options(&server)).unwrap();
    assert_eq!(read(&client, "s3://bucket/x").unwrap(), expected);
    let counts = client.counts();
    let retries: Vec<(&str, u64)> = counts
        .retries
        .iter()
        .map(|(cause, n)| (cause.as_str(), *n))
        .collect();
    assert_eq!(
        retries,
        [
            ("HTTP 429", 1),
            ("HTTP 500", 2),
            ("HTTP 503", 1),
            ("connection broken", 2)
        ]
    );
    assert_eq!(counts.received, 20_000);
    let line = counts.to_string();
    assert!(
        line.contains("6 retries (1 × HTTP 429, 2 × HTTP 500,"),
        "{line}"
    );
}

#[test]
fn a_server_that_keeps_failing_is_an_error_with_the_number_of_tries() {
    let server = signed();
    server.put("bucket/x", contents(10, 1));
    server.fail(|request| (request.method == "GET").then_some(Fault::Status(503)));
    let client = Client::new(options(&server)).unwrap();
    let error = read(&client, "s3://bucket/x").unwrap_err();
    assert!(
        matches!(error, RemoteError::Failed { tries: 6, .. }),
        "{error:?}"
    );
    let error = error.to_string();
    assert!(
        error.starts_with("cannot read s3://bucket/x: HTTP 503 (gave up after 6 tries in"),
        "{error}"
    );
    assert_eq!(client.counts().retried(), 5);
    // Neither a failed read nor a failed read ahead leaves others waiting.
    let object = client.open(Path::new("s3://bucket/x")).unwrap();
    object.read_ahead(std::iter::once(0..10));
    object.read_exact_at(&mut [0; 10], 0).unwrap_err();
    server.fail(|_| None);
    object.read_exact_at(&mut [0; 10], 0).unwrap();
}

#[test]
fn a_slow_answer_is_a_timeout_and_retried() {
    let server = signed();
    let expected = contents(900, 2);
    server.put("bucket/x", expected.clone());
    server.fail(|request| {
        (request.number == 1).then_some(Fault::Slow(10, Duration::from_millis(50)))
    });
    let client = Client::new(Options {
        timeout: Duration::from_millis(500),
        ..options(&server)
    })
    .unwrap();
    assert_eq!(read(&client, "s3://bucket/x").unwrap(), expected);
    assert_eq!(
        client.counts().retries.get("timeout"),
        Some(&1),
        "{:?}",
        client.counts()
    );
}

#[test]
fn an_object_that_is_replaced_is_an_error_with_its_name() {
    let server = signed();
    server.put("bucket/x.tar", contents(5000, 3));
    let client = Client::new(options(&server)).unwrap();
    let object = client.open(Path::new("s3://bucket/x.tar")).unwrap();
    object.read_exact_at(&mut [0; 10], 0).unwrap();
    server.put("bucket/x.tar", contents(5000, 4));
    let error = object.read_exact_at(&mut [0; 10], 2000).unwrap_err();
    assert!(matches!(error, RemoteError::Changed { .. }), "{error:?}");
    let error = error.to_string();
    assert!(
        error.starts_with("s3://bucket/x.tar changed while it was in use (it was \"version-0\""),
        "{error}"
    );
    // Opening it again in the same process does not hide the change.
    let again = client.open(Path::new("s3://bucket/x.tar")).unwrap();
    again.read_exact_at(&mut [0; 10], 3000).unwrap_err();
}

#[test]
fn wrong_and_missing_names_and_credentials() {
    let server = signed();
    server.put("bucket/x", contents(10, 0));
    let client = Client::new(options(&server)).unwrap();
    let error = read(&client, "s3://bucket/y").unwrap_err();
    assert!(matches!(error, RemoteError::NotFound { .. }), "{error:?}");
    let mut wrong = options(&server);
    wrong.variables.insert(
        "AWS_SECRET_ACCESS_KEY".to_owned(),
        "anothersecretkey".to_owned(),
    );
    let mut unsigned = options(&server);
    unsigned.variables.retain(|name, _| !name.contains("KEY"));
    unsigned
        .variables
        .insert("AWS_SKIP_SIGNATURE".to_owned(), "true".to_owned());
    for options in [wrong, unsigned] {
        let client = Client::new(options).unwrap();
        let error = read(&client, "s3://bucket/x").unwrap_err();
        assert!(matches!(error, RemoteError::Denied { .. }), "{error:?}");
        let text = format!("{error} {error:?} {client:?}");
        assert!(
            text.contains("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
            "{text}"
        );
        for secret in [KEY, SECRET, "anothersecretkey"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert_eq!(client.counts().retried(), 0);
    }
}

#[test]
fn a_server_without_ranges_is_an_error() {
    let server = ObjectServer::start();
    server.put("files/x.tar", contents(5000, 0));
    server.fail(|_| Some(Fault::WholeObject));
    let client = Client::new(options(&server)).unwrap();
    let error = read(&client, &format!("{}/files/x.tar", server.endpoint())).unwrap_err();
    assert!(matches!(error, RemoteError::NoRanges { .. }), "{error:?}");
}

#[test]
fn web_addresses_keep_their_secrets() {
    let server = ObjectServer::start();
    let expected = contents(2500, 7);
    server.put("files/x.tar", expected.clone());
    server.fail(|request| {
        let allowed = request.query == "sig=hiddensignature"
            && request.authorization.as_deref() == Some("Basic bWU6aGlkZGVucGFzcw==");
        (!allowed).then_some(Fault::Status(403))
    });
    let host = server.endpoint().replace("http://", "");
    let address = format!("http://me:hiddenpass@{host}/files/x.tar?sig=hiddensignature");
    let path = topk_remote::admit(Path::new(&address)).unwrap();
    assert_eq!(path, Path::new(&format!("http://{host}/files/x.tar")));
    let client = Client::new(options(&server)).unwrap();
    let shown = path.to_str().unwrap();
    assert_eq!(read(&client, shown).unwrap(), expected);
    let object = client.open(&path).unwrap();
    server.fail(|_| Some(Fault::Status(403)));
    let fresh = Client::new(options(&server)).unwrap();
    let error = read(&fresh, shown).unwrap_err();
    let text = format!("{error} {error:?} {fresh:?} {object:?}");
    assert!(!text.contains("hidden"), "{text}");
    // Broken connections name addresses in the errors of HTTP clients.
    server.fail(|_| Some(Fault::Break(0)));
    let error = read(&fresh, shown).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(
        text.contains("connection broken") && !text.contains("hidden"),
        "{text}"
    );
}

#[test]
fn repositories_of_the_hub() {
    let server = ObjectServer::start();
    let other = ObjectServer::start();
    let expected = contents(2500, 8);
    other.put("cdn/x", expected.clone());
    let target = format!("{}/cdn/x?Signature=hiddensignature", other.endpoint());
    server.put(
        "api/datasets/owner/name/tree/v1/data",
        r#"[{"type":"file","path":"data/x.tar","size":1}]"#,
    );
    server.fail(move |request| match request.authorization.as_deref() {
        Some("Bearer hf_hiddentoken")
            if request
                .path
                .starts_with("datasets/owner/name/resolve/v1/data/x") =>
        {
            Some(Fault::Redirect(target.clone()))
        }
        Some("Bearer hf_hiddentoken") => None,
        _ => Some(Fault::Status(401)),
    });
    let mut with_token = options(&server);
    with_token
        .variables
        .insert("HF_TOKEN".to_owned(), "hf_hiddentoken".to_owned());
    let client = Client::new(with_token).unwrap();
    let folder = Path::new("hf://datasets/owner/name@v1/data");
    assert_eq!(client.names(folder).unwrap().files, ["x.tar"]);
    assert_eq!(
        read(&client, "hf://datasets/owner/name@v1/data/x.tar").unwrap(),
        expected
    );
    // The server of the contents does not get the token.
    assert!(
        other
            .take_requests()
            .iter()
            .all(|request| request.authorization.is_none())
    );
    let client = Client::new(options(&server)).unwrap();
    let error = read(&client, "hf://datasets/owner/name@v1/data/x.tar")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("HTTP 401") && error.contains("set HF_TOKEN"),
        "{error}"
    );
}

#[test]
fn folders_are_prefixes() {
    let server = signed();
    for name in ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/deep/2.jpg", "list.txt"] {
        server.put(&format!("bucket/set/{name}"), contents(10, 0));
    }
    server.put("bucket/set2/other.jpg", contents(10, 0));
    // The second page of the list fails once.
    let mut failed = false;
    server.fail(move |request| {
        let fails = request.query.contains("continuation-token") && !failed;
        failed |= fails;
        fails.then_some(Fault::Break(0))
    });
    let client = Client::new(options(&server)).unwrap();
    let set = Path::new("s3://bucket/set");
    assert_eq!(client.kind(set).unwrap(), Kind::Folder);
    let names = client.names(set).unwrap();
    assert_eq!(
        (names.files, names.folders),
        (vec!["list.txt".into()], vec!["a".into(), "b".into()])
    );
    assert_eq!(client.kind(&set.join("a/1.jpg")).unwrap(), Kind::File);
    assert_eq!(client.kind(&set.join("c")).unwrap(), Kind::Missing);
    assert_eq!(client.names(&set.join("b")).unwrap().folders, ["deep"]);
    let found = client
        .matching(set, |path| path.extension().is_some_and(|e| e == "jpg"))
        .unwrap();
    assert_eq!(found.len(), 4);
    server.take_requests();
    client.open(&set.join("a/2.jpg")).unwrap();
    assert_eq!(
        server.take_requests(),
        [],
        "its size is known from the list"
    );
}

#[test]
fn memory_is_bounded_whatever_is_read() {
    let server = signed();
    let expected = contents(400_000, 5);
    for name in 0..4 {
        server.put(&format!("bucket/{name}"), expected.clone());
    }
    let client = Client::new(options(&server)).unwrap();
    let (threads, position) = (4, AtomicU64::new(0));
    thread::scope(|scope| {
        for name in 0..threads {
            let (client, expected, position) = (&client, &expected, &position);
            scope.spawn(move || {
                let object = client
                    .open(Path::new(&format!("s3://bucket/{name}")))
                    .unwrap();
                object.read_ahead(std::iter::once(0..400_000));
                for _ in 0..200 {
                    let start = position.fetch_add(7919, Ordering::Relaxed) % 390_000;
                    let mut bytes = vec![0; 2500];
                    object.read_ahead(std::iter::once(start..start + 50_000));
                    object.read_exact_at(&mut bytes, start).unwrap();
                    assert_eq!(bytes, expected[start as usize..][..2500]);
                }
            });
        }
    });
    let most = client.counts().most_held;
    let bound = 16 * BLOCK + 2 * BLOCK + threads * BLOCK;
    assert!(most <= bound, "{most} bytes in memory, allowed {bound}");
    assert!(most > 8 * BLOCK, "{most}");
}

#[test]
fn what_is_read_ahead_is_read_once() {
    let server = signed();
    let expected = contents(12_000, 6);
    server.put("bucket/x", expected.clone());
    let client = Client::new(options(&server)).unwrap();
    let object = client.open(Path::new("s3://bucket/x")).unwrap();
    object.read_ahead([0..3500, 100..900, 5000..7000]);
    let mut bytes = vec![0; 7000];
    object.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes, expected[..7000]);
    let mut starts: Vec<u64> = server
        .take_requests()
        .iter()
        .filter_map(|request| Some(request.range?.0))
        .collect();
    starts.sort_unstable();
    assert_eq!(starts, [0, 1000, 2000, 3000, 4000, 5000, 6000]);
}

#[test]
fn the_cache_survives_its_process_and_follows_versions() {
    let server = signed();
    let expected = contents(5500, 9);
    server.put("bucket/x", expected.clone());
    let folder = tempfile::tempdir().unwrap();
    let cached = || Options {
        cache: Some(folder.path().to_owned()),
        ..options(&server)
    };
    let client = Client::new(cached()).unwrap();
    assert_eq!(read(&client, "s3://bucket/x").unwrap(), expected);
    server.take_requests();
    let client = Client::new(cached()).unwrap();
    assert_eq!(read(&client, "s3://bucket/x").unwrap(), expected);
    let methods: Vec<String> = server
        .take_requests()
        .into_iter()
        .map(|request| request.method)
        .collect();
    assert_eq!(methods, ["HEAD"], "only the version");
    assert_eq!(client.counts().from_cache, 5500);
    let newer = contents(5500, 10);
    server.put("bucket/x", newer.clone());
    let client = Client::new(cached()).unwrap();
    assert_eq!(read(&client, "s3://bucket/x").unwrap(), newer);
    // Nothing in the cache is secret.
    let error = Client::new(Options {
        cache: Some("/proc/cache".into()),
        ..options(&server)
    })
    .unwrap_err()
    .to_string();
    assert!(
        error.starts_with("cannot use the cache /proc/cache: "),
        "{error}"
    );
}

#[test]
fn downloads_are_complete_files_of_one_version() {
    let server = signed();
    let expected = contents(9500, 11);
    server.put("bucket/models/m.onnx", expected.clone());
    let folder = tempfile::tempdir().unwrap();
    let client = Client::new(Options {
        home: Some(folder.path().to_owned()),
        ..options(&server)
    })
    .unwrap();
    let path = Path::new("s3://bucket/models/m.onnx");
    let file = client.download(path).unwrap();
    assert_eq!(file.file_name().unwrap(), "m.onnx");
    assert_eq!(std::fs::read(&file).unwrap(), expected);
    server.take_requests();
    assert_eq!(client.download(path).unwrap(), file);
    assert_eq!(server.take_requests(), []);

    // Together with another, under names that they choose.
    server.put("bucket/models/w.data", contents(300, 3));
    let weights = client
        .download(Path::new("s3://bucket/models/w.data"))
        .unwrap();
    let files = [("onnx/m.onnx".into(), file), ("w.data".into(), weights)];
    let together = client.gather(&files).unwrap();
    for (name, download) in &files {
        let [found, expected] =
            [&together.join(name), download].map(|path| std::fs::read(path).unwrap());
        assert_eq!(found, expected);
    }
    assert_eq!(client.gather(&files).unwrap(), together);
    assert_ne!(client.gather(&files[..1]).unwrap(), together);
    // What a user removed is made again.
    std::fs::remove_file(together.join("w.data")).unwrap();
    assert_eq!(client.gather(&files).unwrap(), together);
    assert!(together.join("w.data").exists());

    let nowhere = Client::new(options(&server)).unwrap();
    let error = nowhere.download(path).unwrap_err().to_string();
    assert!(error.contains("--cache"), "{error}");
}
