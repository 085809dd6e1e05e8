//! `docs/error-messages.md` has an example of every error message, and nothing else.
//!
//! The messages are read from the sources: `#[error("…")]`, and the texts of `bail!`, `ensure!`, `anyhow!`,
//! `.context(…)`, `.ok_or(…)` and `Err("…")`. Whoever changes one is shown the example to change.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::TokenStream;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, ExprCall, ExprMethodCall, ItemFn, ItemMod, Lit, Macro, Meta, Token};
use topk_testing::root;

const PAGE: &str = "docs/error-messages.md";

/// Folders whose messages are for developers of this repository.
const LEFT_OUT: [&str; 3] = ["testing", "ops/node-test", "target"];

/// A message in the sources: text between placeholders.
#[derive(Debug)]
struct Template {
    file: String,
    text: String,
    parts: Vec<String>,
}

impl Template {
    /// `None` for a format string that has no words of its own, such as `{path}: {source}`.
    fn new(file: &str, text: &str) -> Option<Self> {
        let mut parts = vec![];
        let mut part = String::new();
        let mut chars = text.chars().peekable();
        while let Some(char) = chars.next() {
            match char {
                '{' | '}' if chars.peek() == Some(&char) => {
                    chars.next();
                    part.push(char);
                }
                '{' => {
                    chars.find(|&char| char == '}');
                    parts.push(std::mem::take(&mut part));
                }
                '\n' => part.push_str("\\n"),
                _ => part.push(char),
            }
        }
        parts.push(part);
        let letters = parts.iter().flat_map(|part| part.chars());
        (letters.filter(|char| char.is_alphabetic()).count() >= 3).then(|| Self {
            file: file.to_owned(),
            text: text.replace('\n', "\\n"),
            parts,
        })
    }

    /// Whether the message is this text with values in place of the placeholders.
    fn matches(&self, message: &str) -> bool {
        let [first, between @ .., last] = &self.parts[..] else {
            return self.parts[0] == message;
        };
        let Some(mut rest) = message.strip_prefix(first.as_str()) else {
            return false;
        };
        for part in between {
            match rest.find(part.as_str()) {
                Some(index) => rest = &rest[index + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last.as_str())
    }
}

/// Collects the messages of a file.
struct Collector<'a> {
    file: &'a str,
    templates: Vec<Template>,
}

impl Collector<'_> {
    /// Adds the text of an expression that is a message: a literal, one that is made owned, a `format!`, or a
    /// closure or block that ends with one of these.
    fn add_message(&mut self, expr: &Expr) {
        match expr {
            Expr::Lit(literal) => {
                if let Lit::Str(text) = &literal.lit {
                    self.templates
                        .extend(Template::new(self.file, &text.value()));
                }
            }
            Expr::MethodCall(call)
                if ["to_owned", "into", "to_string"].contains(&&*call.method.to_string()) =>
            {
                self.add_message(&call.receiver);
            }
            Expr::Macro(call) if call.mac.path.is_ident("format") => {
                self.add_format(&call.mac.tokens, 0);
            }
            Expr::Closure(closure) => self.add_message(&closure.body),
            Expr::Block(block) => {
                if let Some(syn::Stmt::Expr(last, None)) = block.block.stmts.last() {
                    self.add_message(last);
                }
            }
            _ => {}
        }
    }

    /// Adds the argument of a macro that follows `skipped` others.
    fn add_format(&mut self, tokens: &TokenStream, skipped: usize) {
        if let Some(expr) = arguments(tokens).get(skipped) {
            self.add_message(expr);
        }
    }
}

/// The arguments of a macro that takes expressions; none of another macro.
fn arguments(tokens: &TokenStream) -> Vec<Expr> {
    let parse = Punctuated::<Expr, Token![,]>::parse_terminated;
    let arguments = parse.parse2(tokens.clone());
    arguments.map_or_else(|_| Vec::new(), |arguments| arguments.into_iter().collect())
}

impl<'ast> Visit<'ast> for Collector<'_> {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        if !is_test(&function.attrs) {
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if attribute.path().is_ident("error")
            && let Meta::List(list) = &attribute.meta
        {
            self.add_format(&list.tokens, 0);
        }
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        let name = call.path.segments.last().map(|name| name.ident.to_string());
        match name.as_deref() {
            Some("bail" | "anyhow") => self.add_format(&call.tokens, 0),
            Some("ensure") => self.add_format(&call.tokens, 1),
            _ => {}
        }
        for argument in arguments(&call.tokens) {
            self.visit_expr(&argument);
        }
    }

    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        if let Expr::Path(path) = &*call.func
            && path.path.is_ident("Err")
            && let Some(argument) = call.args.first()
        {
            self.add_message(argument);
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        let method = call.method.to_string();
        if ["context", "with_context", "ok_or", "ok_or_else"].contains(&&*method)
            && let Some(argument) = call.args.first()
        {
            self.add_message(argument);
        }
        visit::visit_expr_method_call(self, call);
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let name = attribute.path();
        let text = match &attribute.meta {
            Meta::List(list) => list.tokens.to_string(),
            _ => String::new(),
        };
        name.is_ident("test") || name.is_ident("cfg") && text.starts_with("test")
    })
}

/// Adds the source files of all packages, each with the folder of its package, which is empty for the root.
fn sources(folder: &Path, found: &mut Vec<(String, PathBuf)>) {
    let entries = fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let inside = path.strip_prefix(root()).unwrap().to_string_lossy();
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() {
            if !name.starts_with('.') && name != "fuzz" && !LEFT_OUT.contains(&&*inside) {
                sources(&path, found);
            }
        } else if let Some((package, file)) = inside.split_once("src/")
            && name.ends_with(".rs")
            && !file.ends_with("tests.rs")
        {
            let package = package.trim_end_matches('/').to_owned();
            found.push((package, path.clone()));
        }
    }
}

/// The examples of the page, each with the heading that it is under: the folder of a package.
fn examples(page: &str) -> Vec<(String, String)> {
    let (mut heading, mut inside) = (String::new(), false);
    let mut examples = Vec::new();
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            heading = title.trim_matches('`').to_owned();
        } else if line.starts_with("```") {
            inside = !inside;
        } else if inside && !line.is_empty() {
            examples.push((heading.clone(), line.to_owned()));
        }
    }
    examples
}

#[test]
fn every_error_message_has_an_example() {
    let page = fs::read_to_string(root().join(PAGE)).unwrap();
    let examples = examples(&page);
    let mut used = vec![false; examples.len()];
    let mut files = Vec::new();
    sources(root(), &mut files);
    let (mut faults, mut count) = (Vec::new(), 0);
    for (package, path) in &files {
        let text = fs::read_to_string(path).unwrap();
        let syntax = syn::parse_file(&text)
            .unwrap_or_else(|error| panic!("cannot parse {}: {error}", path.display()));
        let file = path.strip_prefix(root()).unwrap().to_string_lossy();
        let mut collector = Collector {
            file: &file,
            templates: Vec::new(),
        };
        collector.visit_file(&syntax);
        count += collector.templates.len();
        let heading = if package.is_empty() { "src" } else { package };
        for template in &collector.templates {
            let mut found = false;
            for ((section, message), used) in examples.iter().zip(&mut used) {
                if section == heading && template.matches(message) {
                    (found, *used) = (true, true);
                }
            }
            if !found {
                let Template { file, text, .. } = template;
                faults.push(format!("no example under `{heading}`: {text}  ({file})"));
            }
        }
    }
    assert!(count > 300, "only {count} messages are in the sources");
    for ((section, message), _) in examples.iter().zip(used).filter(|(_, used)| !used) {
        faults.push(format!("no longer a message of `{section}`: {message}"));
    }
    assert!(faults.is_empty(), "change {PAGE}:\n{}", faults.join("\n"));
}

#[test]
fn placeholders_match_any_text() {
    let template = |text| Template::new("file.rs", text).unwrap();
    let message = template("{path}: k = {k:?} is {{odd}}");
    assert!(message.matches("a.onnx: k = 3 is {odd}"));
    assert!(!message.matches("a.onnx: k = 3 is odd"));
    assert!(template("no file").matches("no file"));
    assert!(!template("no file").matches("no files"));
    assert!(Template::new("file.rs", "{path}: {source}").is_none());
}

#[test]
fn messages_of_tests_are_left_out() {
    let source = r#"
        #[derive(Error)]
        enum E { #[error("cannot read {path}")] A, #[error(transparent)] B }
        fn f() -> Result<()> {
            ensure!(x > 0, "x is {x}, expected more");
            g().with_context(|| format!("cannot open {p}"))?;
            h().ok_or_else(|| "expected a number".to_owned())?;
            let y = vec![bail!("inside")];
            Err(format!("bad {}", y))
        }
        #[cfg(test)]
        mod tests { fn f() { bail!("only in tests") } }
    "#;
    let mut collector = Collector {
        file: "file.rs",
        templates: Vec::new(),
    };
    collector.visit_file(&syn::parse_file(source).unwrap());
    let mut texts: Vec<_> = collector
        .templates
        .iter()
        .map(|template| template.text.as_str())
        .collect();
    texts.sort_unstable();
    let expected = [
        "bad {}",
        "cannot open {p}",
        "cannot read {path}",
        "expected a number",
        "inside",
        "x is {x}, expected more",
    ];
    assert_eq!(texts, expected);
}
