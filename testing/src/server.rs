//! An HTTP server for one page: serves files on GET and receives the page's result by POST.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The files of a web site with their paths.
#[derive(Clone, Debug, Default)]
pub struct Site {
    files: Vec<(String, Vec<u8>)>,
    folders: Vec<(String, PathBuf)>,
}

impl Site {
    /// A site without files.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file, at a path such as `/model.onnx`.
    pub fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), content.into()));
        self
    }

    /// Adds the files of a folder, under a path such as `/models/`.
    pub fn folder(mut self, path: &str, folder: impl Into<PathBuf>) -> Self {
        self.folders.push((path.to_owned(), folder.into()));
        self
    }

    /// The content at a path; `None` if there is none. Paths cannot leave a folder.
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        if let Some((_, content)) = self.files.iter().find(|(name, _)| name == path) {
            return Some(content.clone());
        }
        self.folders.iter().find_map(|(prefix, folder)| {
            let inner = path.strip_prefix(prefix.as_str())?;
            let plain = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('\\');
            inner
                .split('/')
                .all(plain)
                .then(|| fs::read(folder.join(inner)).ok())?
        })
    }
}

/// What a page posts: its result, or its error message.
pub(crate) type Outcome = Result<String, String>;

/// A running server; dropping it stops the server.
pub(crate) struct Server {
    address: SocketAddr,
    outcomes: Receiver<Outcome>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(site: Site) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (sender, outcomes) = mpsc::channel();
        let ended = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let ended = ended.clone();
            move || serve(&listener, Arc::new(site), &sender, &ended)
        });
        Ok(Self {
            address,
            outcomes,
            ended,
            thread: Some(thread),
        })
    }

    /// The address of a page.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next posted outcome, if one arrives within `wait`.
    pub(crate) fn outcome(&self, wait: Duration) -> Option<Outcome> {
        self.outcomes.recv_timeout(wait).ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        // Wake the thread, which is waiting for a connection.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, site: Arc<Site>, outcomes: &Sender<Outcome>, ended: &AtomicBool) {
    for stream in listener.incoming() {
        if ended.load(Ordering::Acquire) {
            return;
        }
        if let Ok(stream) = stream {
            let (site, outcomes) = (site.clone(), outcomes.clone());
            // Browsers open several connections at once and leave some unused.
            thread::spawn(move || answer(stream, &site, &outcomes));
        }
    }
}

/// Longer than browsers keep unused connections open.
const READ_LIMIT: Duration = Duration::from_secs(60);

/// Answers one request.
fn answer(mut stream: TcpStream, site: &Site, outcomes: &Sender<Outcome>) -> io::Result<()> {
    stream.set_read_timeout(Some(READ_LIMIT))?;
    let Some(request) = Request::read(&mut BufReader::new(&stream))? else {
        return Ok(());
    };
    let (status, path, content) = match (request.method.as_str(), request.path.as_str()) {
        ("GET", path) => match site.read(path) {
            Some(content) => ("200 OK", path, content),
            None => ("404 Not Found", "", Vec::new()),
        },
        ("POST", "/result") => {
            let _ = outcomes.send(Ok(request.body));
            ("204 No Content", "", Vec::new())
        }
        ("POST", "/error") => {
            let _ = outcomes.send(Err(request.body));
            ("204 No Content", "", Vec::new())
        }
        _ => ("404 Not Found", "", Vec::new()),
    };
    // Multi-threaded WebAssembly needs the two Cross-Origin headers.
    write!(
        stream,
        "HTTP/1.1 {status}\r\n\
         Content-Type: {}\r\n\
         Content-Length: {}\r\n\
         Cache-Control: no-store\r\n\
         Cross-Origin-Opener-Policy: same-origin\r\n\
         Cross-Origin-Embedder-Policy: require-corp\r\n\
         Connection: close\r\n\r\n",
        content_type(path),
        content.len()
    )?;
    stream.write_all(&content)
}

fn content_type(path: &str) -> &'static str {
    match Path::new(path).extension().and_then(|name| name.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css",
        Some("js" | "mjs") => "text/javascript",
        Some("json") => "application/json",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    }
}

struct Request {
    method: String,
    /// Without the query.
    path: String,
    body: String,
}

impl Request {
    /// `None` if the connection ends without a request.
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let path = words.next().unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default().to_owned();
        let mut length = 0;
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let header = line.trim_end();
            if header.is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = Vec::new();
        reader.take(length).read_to_end(&mut body)?;
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Some(Self { method, path, body }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a request and returns the head and the content of the answer.
    fn ask(server: &Server, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, content) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), content.to_owned())
    }

    #[test]
    fn only_files_of_the_site_are_served() {
        let outer = tempfile::tempdir().unwrap();
        fs::write(outer.path().join("secret"), "secret").unwrap();
        let inner = outer.path().join("inner");
        fs::create_dir_all(inner.join("deep")).unwrap();
        fs::write(inner.join("deep/module.mjs"), "module").unwrap();
        let site = Site::new()
            .file("/page.html", "page")
            .folder("/files/", inner);
        let server = Server::start(site).unwrap();
        let get = |path: &str| ask(&server, &format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));

        let (head, content) = get("/page.html?a=b");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("Content-Type: text/html"), "{head}");
        assert!(
            head.contains("Cross-Origin-Opener-Policy: same-origin"),
            "{head}"
        );
        assert!(
            head.contains("Cross-Origin-Embedder-Policy: require-corp"),
            "{head}"
        );
        assert_eq!(content, "page");
        let (head, content) = get("/files/deep/module.mjs");
        assert!(head.contains("Content-Type: text/javascript"), "{head}");
        assert_eq!(content, "module");

        for path in [
            "/",
            "/files/",
            "/files/deep",
            "/files/../secret",
            "/files/deep/../../secret",
            "/files//secret",
            "/files/..\\secret",
            "/files/%2e%2e/secret",
            "/secret",
            "",
        ] {
            let (head, content) = get(path);
            assert!(head.starts_with("HTTP/1.1 404 "), "{path}: {head}");
            assert_eq!(content, "");
        }
    }

    #[test]
    fn posted_texts_are_outcomes() {
        let server = Server::start(Site::new()).unwrap();
        let post = |path: &str, body: &str| {
            let length = body.len();
            ask(
                &server,
                &format!("POST {path} HTTP/1.1\r\ncontent-length: {length}\r\n\r\n{body}"),
            )
            .0
        };
        assert!(post("/result", "α\n").starts_with("HTTP/1.1 204 "));
        assert_eq!(
            server.outcome(Duration::from_secs(10)),
            Some(Ok("α\n".to_owned()))
        );
        assert!(post("/error", "bad").starts_with("HTTP/1.1 204 "));
        assert_eq!(
            server.outcome(Duration::from_secs(10)),
            Some(Err("bad".to_owned()))
        );
        assert!(post("/other", "text").starts_with("HTTP/1.1 404 "));
        assert_eq!(server.outcome(Duration::ZERO), None);
    }

    #[test]
    fn a_silent_connection_does_not_block_others() {
        let server = Server::start(Site::new().file("/a", "a")).unwrap();
        let _silent = TcpStream::connect(server.address).unwrap();
        assert_eq!(ask(&server, "GET /a HTTP/1.1\r\n\r\n").1, "a");
    }
}
