//! An object store on loopback that speaks as much of S3 as reading takes: GET with ranges, HEAD, ListObjectsV2 and
//! signatures. Objects are served to plain HTTP clients, too. It fails on request.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::signature;

/// The region that clients must sign for.
pub(crate) const REGION: &str = "us-east-1";

/// A running server; dropping it stops it.
pub struct ObjectServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// A request that the server received.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ObjectRequest {
    /// `GET` or `HEAD`.
    pub method: String,
    /// Bucket and key, decoded.
    pub path: String,
    /// The part after `?`.
    pub query: String,
    /// First and last byte that the client wants.
    pub range: Option<(u64, u64)>,
    /// Value of the header `Authorization`.
    pub authorization: Option<String>,
    /// Number of the request, from 0.
    pub number: u64,
}

/// How a request fails.
#[derive(Clone, Debug)]
pub enum Fault {
    /// With this status instead of the object.
    Status(u16),
    /// The connection ends after this many bytes of the body.
    Break(usize),
    /// The body comes in pieces of this many bytes, with pauses between.
    Slow(usize, Duration),
    /// The whole object is sent instead of a range.
    WholeObject,
    /// To another address.
    Redirect(String),
}

type Faults = Box<dyn FnMut(&ObjectRequest) -> Option<Fault> + Send>;

struct Object {
    contents: Arc<Vec<u8>>,
    tag: String,
}

struct Shared {
    objects: Mutex<BTreeMap<String, Object>>,
    requests: Mutex<Vec<ObjectRequest>>,
    faults: Mutex<Faults>,
    /// Access key and secret of S3 requests.
    credentials: Option<(String, String)>,
    versions: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    page: usize,
    ended: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ObjectServer {
    /// Starts a server that anybody may read.
    ///
    /// # Panics
    ///
    /// If all ports of loopback are taken.
    pub fn start() -> Self {
        Self::with(None)
    }

    /// Starts a server whose requests must be signed with an access key and its secret.
    ///
    /// # Panics
    ///
    /// If all ports of loopback are taken.
    pub fn signed(key: &str, secret: &str) -> Self {
        Self::with(Some((key.to_owned(), secret.to_owned())))
    }

    fn with(credentials: Option<(String, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("the listener has an address");
        let shared = Arc::new(Shared {
            objects: Mutex::default(),
            requests: Mutex::default(),
            faults: Mutex::new(Box::new(|_| None)),
            credentials,
            versions: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            page: 3,
            ended: AtomicBool::new(false),
        });
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || serve(&listener, &shared)
        });
        Self {
            address,
            shared,
            thread: Some(thread),
        }
    }

    /// The address of the server, such as for `AWS_ENDPOINT_URL`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds or replaces an object, at a path such as `bucket/folder/file`.
    pub fn put(&self, path: &str, contents: impl Into<Vec<u8>>) {
        let version = self.shared.versions.fetch_add(1, Ordering::Relaxed);
        let object = Object {
            contents: Arc::new(contents.into()),
            tag: format!("\"version-{version}\""),
        };
        lock(&self.shared.objects).insert(path.to_owned(), object);
    }

    /// Adds the files below a folder.
    ///
    /// # Panics
    ///
    /// If they cannot be read.
    pub fn put_folder(&self, path: &str, folder: &std::path::Path) {
        for entry in std::fs::read_dir(folder).expect("the folder can be listed") {
            let entry = entry.expect("the folder can be listed");
            let name = entry.file_name().into_string().expect("names are UTF-8");
            let inner = format!("{path}/{name}");
            if entry.path().is_dir() {
                self.put_folder(&inner, &entry.path());
            } else {
                self.put(
                    &inner,
                    std::fs::read(entry.path()).expect("the file can be read"),
                );
            }
        }
    }

    /// Decides which of the next requests fail.
    pub fn fail(&self, faults: impl FnMut(&ObjectRequest) -> Option<Fault> + Send + 'static) {
        *lock(&self.shared.faults) = Box::new(faults);
    }

    /// The requests since the last call.
    pub fn take_requests(&self) -> Vec<ObjectRequest> {
        std::mem::take(&mut lock(&self.shared.requests))
    }

    /// Bytes of bodies that were sent.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }
}

impl Drop for ObjectServer {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        // Wakes the thread, which waits for a connection.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.ended.load(Ordering::Acquire) {
            return;
        }
        if let Ok(stream) = stream {
            let shared = Arc::clone(shared);
            // Ends with the client's connection, or after an idle minute.
            thread::spawn(move || {
                let _ = connection(&stream, &shared);
                let _ = stream.shutdown(Shutdown::Both);
            });
        }
    }
}

/// Answers the requests of a connection.
fn connection(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut reader = BufReader::new(stream);
    while !shared.ended.load(Ordering::Acquire) {
        let Some(head) = Head::read(&mut reader)? else {
            return Ok(());
        };
        if !answer(stream, &head, shared)? {
            return Ok(());
        }
    }
    Ok(())
}

/// The head of a request.
pub(crate) struct Head {
    pub method: String,
    /// As it was sent.
    pub path: String,
    pub query: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Head {
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace();
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        let mut headers = Vec::new();
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Some(Self {
            method,
            path,
            query,
            headers,
        }))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = self
            .query
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        let found = pairs.find(|(known, _)| *known == name);
        found.map(|(_, value)| decoded(value))
    }
}

/// Answers a request. Returns whether the connection stays open.
fn answer(mut stream: &TcpStream, head: &Head, shared: &Shared) -> io::Result<bool> {
    let range = head.header("range").and_then(|range| {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()?))
    });
    let request = ObjectRequest {
        method: head.method.clone(),
        path: decoded(head.path.trim_start_matches('/')),
        query: head.query.clone(),
        range,
        authorization: head.header("authorization").map(str::to_owned),
        number: shared.received.fetch_add(1, Ordering::Relaxed),
    };
    lock(&shared.requests).push(request.clone());
    let fault = (*lock(&shared.faults))(&request);
    let body_follows = head.method != "HEAD";
    let mut simple = |status: &str, body: &str| {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let body = if body_follows { body } else { "" };
        stream.write_all(format!("{head}{body}").as_bytes())
    };
    match &fault {
        Some(Fault::Status(status)) => {
            simple(
                &format!("{status} Fault"),
                "<Error><Code>InjectedFault</Code></Error>",
            )?;
            return Ok(true);
        }
        Some(Fault::Redirect(to)) => {
            stream.write_all(
                format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
                    .as_bytes(),
            )?;
            return Ok(true);
        }
        _ => {}
    }
    if let Some((key, secret)) = &shared.credentials
        && !signature::is_valid(head, key, secret)
    {
        simple("403 Forbidden", "<Error><Code>AccessDenied</Code></Error>")?;
        return Ok(true);
    }
    if head.parameter("list-type").is_some() {
        let page = list(head, &request.path, shared);
        simple("200 OK\r\nContent-Type: application/xml", &page)?;
        return Ok(true);
    }
    let found = lock(&shared.objects)
        .get(&request.path)
        .map(|object| (Arc::clone(&object.contents), object.tag.clone()));
    let Some((contents, tag)) = found else {
        simple("404 Not Found", "<Error><Code>NoSuchKey</Code></Error>")?;
        return Ok(true);
    };
    let size = contents.len() as u64;
    let whole = matches!(fault, Some(Fault::WholeObject));
    let (first, end, status) = match range.filter(|_| !whole) {
        Some((first, _)) if first >= size => {
            simple("416 Range Not Satisfiable", "")?;
            return Ok(true);
        }
        Some((first, last)) => (first, size.min(last + 1), "206 Partial Content"),
        None => (0, size, "200 OK"),
    };
    let mut text = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nETag: {tag}\r\nAccept-Ranges: bytes\r\n\
         Last-Modified: Sun, 01 Nov 2026 00:00:00 GMT\r\n",
        end - first
    );
    if status.starts_with("206") {
        let _ = write!(text, "Content-Range: bytes {first}-{}/{size}\r\n", end - 1);
    }
    text.push_str("\r\n");
    stream.write_all(text.as_bytes())?;
    if !body_follows {
        return Ok(true);
    }
    let body = &contents[first as usize..end as usize];
    match fault {
        Some(Fault::Break(bytes)) if bytes < body.len() => {
            stream.write_all(&body[..bytes])?;
            shared.sent.fetch_add(bytes as u64, Ordering::Relaxed);
            return Ok(false);
        }
        Some(Fault::Slow(piece, pause)) => {
            for piece in body.chunks(piece.max(1)) {
                stream.write_all(piece)?;
                thread::sleep(pause);
            }
        }
        _ => stream.write_all(body)?,
    }
    shared.sent.fetch_add(body.len() as u64, Ordering::Relaxed);
    Ok(true)
}

/// A page of ListObjectsV2.
fn list(head: &Head, bucket: &str, shared: &Shared) -> String {
    let prefix = head.parameter("prefix").unwrap_or_default();
    let after = head
        .parameter("continuation-token")
        .or_else(|| head.parameter("start-after"));
    let inside = format!("{}/", bucket.trim_end_matches('/'));
    let objects = lock(&shared.objects);
    let mut keys = objects.iter().filter_map(|(path, object)| {
        let key = path.strip_prefix(&inside)?;
        let is_next = after.as_ref().is_none_or(|after| key > after.as_str());
        (key.starts_with(&prefix) && is_next).then_some((key, object))
    });
    let mut page = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult>");
    let mut last = "";
    for (key, object) in keys.by_ref().take(shared.page) {
        let (tag, size) = (object.tag.replace('"', "&quot;"), object.contents.len());
        let _ = write!(
            page,
            "<Contents><Key>{key}</Key><LastModified>2026-11-01T00:00:00.000Z</LastModified><ETag>{tag}</ETag>\
             <Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        );
        last = key;
    }
    let more = keys.next().is_some();
    let _ = write!(page, "<IsTruncated>{more}</IsTruncated>");
    if more {
        let _ = write!(
            page,
            "<NextContinuationToken>{last}</NextContinuationToken>"
        );
    }
    page + "</ListBucketResult>"
}

/// A text without the encoding of addresses.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let hex = (*first == b'%')
            .then(|| str::from_utf8(after.get(..2)?).ok())
            .flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
