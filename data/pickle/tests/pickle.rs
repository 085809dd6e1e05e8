//! Pickles with a small vocabulary: points, which Python would make by calling `shapes.Point`.

use topk_pickle::{Heap, Object, PickleErrorKind, Vocabulary, parse};

#[derive(Debug, Default)]
struct Points(Vec<(i64, i64)>);

/// `shapes.Point`.
#[derive(Clone, Copy, Debug)]
struct Point;

/// Index of a point.
#[derive(Clone, Copy, Debug)]
struct Made(usize);

impl Vocabulary for Points {
    type Global = Point;
    type Made = Made;

    const CONTENTS: &'static str = "a list of points";
    const ADVICE: &'static str = "draw it again";
    const MAX_BYTES: usize = 1000;
    const MAX_TEXT: usize = 300;

    fn global(module: &str, name: &str) -> Option<Point> {
        (module == "shapes" && name == "Point").then_some(Point)
    }

    fn kind(_: Made) -> &'static str {
        "a point"
    }

    fn call(
        &mut self,
        _: &mut Heap<Self>,
        _: &[u8],
        Point: Point,
        arguments: &[Object<Self>],
    ) -> Result<Object<Self>, PickleErrorKind> {
        let &[Object::Int(x), Object::Int(y)] = arguments else {
            return Err(PickleErrorKind::Invalid(
                "a point without two numbers".to_owned(),
            ));
        };
        self.0.push((x, y));
        Ok(Object::Made(Made(self.0.len() - 1)))
    }

    /// The state is the distance to move the point.
    fn build(
        &mut self,
        _: &Heap<Self>,
        _: &[u8],
        object: Object<Self>,
        state: Object<Self>,
    ) -> Result<(), PickleErrorKind> {
        match (object, state) {
            (Object::Made(Made(point)), Object::Int(by)) => self.0[point].0 += by,
            _ => return Err(state.expected("the distance to move a point")),
        }
        Ok(())
    }

    /// The origin.
    fn persistent(
        &mut self,
        _: &Heap<Self>,
        pickle: &[u8],
        id: Object<Self>,
    ) -> Result<Object<Self>, PickleErrorKind> {
        match id {
            Object::Text(name) if name.is(pickle, "origin") => Ok(Object::Int(0)),
            _ => Err(id.expected("the name of a point")),
        }
    }
}

fn error(pickle: &[u8]) -> String {
    parse::<Points>(pickle).unwrap_err().to_string()
}

#[test]
fn objects_of_the_vocabulary_are_made_in_order() {
    // [Point(1, -2), moved by 5; the same again; Point(origin, 3)], and more after it.
    let pickle = b"\x80\x02](cshapes\nPoint\nq\x00K\x01J\xfe\xff\xff\xff\x86Rq\x01K\x05bh\x01h\x00\
                   U\x06originQK\x03\x86Re.rest";
    let parsed = parse::<Points>(pickle).unwrap();
    assert_eq!(parsed.bytes.len(), pickle.len() - 4);
    let Object::List(list) = parsed.root else {
        panic!("{:?}", parsed.root);
    };
    let point = |object: &Object<Points>| match *object {
        Object::Made(Made(point)) => parsed.made.0[point],
        other => panic!("{other:?}"),
    };
    let points: Vec<_> = parsed.heap.items(list).iter().map(point).collect();
    assert_eq!(points, [(6, -2), (6, -2), (0, 3)]);
}

#[test]
fn strings_of_every_kind_have_their_range() {
    let pickle = b"\x80\x03}(U\x03a\xe9bX\x03\x00\x00\x00\xe2\x82\xacC\x02\xff\x00K\x01u.";
    let parsed = parse::<Points>(pickle).unwrap();
    let Object::Dict(dict) = parsed.root else {
        panic!("{:?}", parsed.root);
    };
    let entries: Vec<_> = parsed.heap.entries(dict).collect();
    let [
        (Object::Text(latin1), Object::Text(utf8)),
        (Object::Bytes(bytes), Object::Int(1)),
    ] = entries[..]
    else {
        panic!("{entries:?}");
    };
    assert_eq!(latin1.get(pickle), "aéb");
    assert_eq!(utf8.get(pickle), "€");
    assert_eq!(utf8.bytes(pickle), &pickle[utf8.span().range()]);
    assert_eq!(&pickle[bytes.range()], b"\xff\x00");
}

#[test]
fn everything_else_is_an_error() {
    assert_eq!(
        error(b"\x80\x02cos\nsystem\n."),
        "the pickle refers to os.system, which is not allowed in a list of points; no code was \
         executed; draw it again (byte 2)"
    );
    let cases: [(&[u8], &str); 8] = [
        (b"\x80\x01N.", "uses protocol 1"),
        (
            b"\x80\x02i",
            "the operation 0x69, which is not allowed in a list of points",
        ),
        (
            b"\x80\x02cshapes\nPoint\nK\x01\x85R.",
            "a point without two numbers (byte 19)",
        ),
        (
            b"\x80\x02K\x01K\x02b.",
            "has the number 2, expected the distance to move a point",
        ),
        (b"\x80\x02K\x01Q.", "expected the name of a point"),
        (
            b"\x80\x02X\xff\xff\x00\x00x.",
            "more than 300 bytes in a string",
        ),
        (b"\x80\x02", "ends in the middle"),
        (b".", "has nothing, expected an object on the stack"),
    ];
    for (pickle, expected) in cases {
        let message = error(pickle);
        assert!(message.contains(expected), "{message}");
    }
    let long = [b"\x80\x02".as_slice(), &b"N0".repeat(1000)].concat();
    assert!(error(&long).contains("more than 1000 bytes"));
}

/// A vocabulary of nothing, which skips what is not in the module `secret`.
#[derive(Debug, Default)]
struct Nothing;

impl Vocabulary for Nothing {
    type Global = ();
    type Made = ();

    const CONTENTS: &'static str = "a plain value";
    const ADVICE: &'static str = "keep it out";
    const MAX_BYTES: usize = 1000;
    const MAX_TEXT: usize = 300;

    fn global(_: &str, _: &str) -> Option<()> {
        None
    }

    fn skips(module: &str, _: &str) -> bool {
        module != "secret"
    }

    fn kind((): ()) -> &'static str {
        "nothing"
    }

    fn call(
        &mut self,
        _: &mut Heap<Self>,
        _: &[u8],
        (): (),
        _: &[Object<Self>],
    ) -> Result<Object<Self>, PickleErrorKind> {
        unreachable!("no function is known")
    }

    fn build(
        &mut self,
        _: &Heap<Self>,
        _: &[u8],
        _: Object<Self>,
        _: Object<Self>,
    ) -> Result<(), PickleErrorKind> {
        unreachable!("nothing that is known has a state")
    }

    fn persistent(
        &mut self,
        _: &Heap<Self>,
        _: &[u8],
        id: Object<Self>,
    ) -> Result<Object<Self>, PickleErrorKind> {
        Err(id.expected("no persistent id"))
    }
}

#[test]
fn objects_of_other_types_are_skipped_where_the_vocabulary_allows_it() {
    // [A(1) with a state, items and entries, B.__new__(B), a set, 5]
    let pickle = b"\x80\x04](ca\nA\nK\x01\x85R}bK\x02aK\x03K\x04sca\nB\n)\x81\x8f(K\x01\x90K\x05e.";
    let parsed = parse::<Nothing>(pickle).unwrap();
    let Object::List(list) = parsed.root else {
        panic!("{:?}", parsed.root);
    };
    let [
        Object::Skipped(a),
        Object::Skipped(b),
        Object::Other,
        Object::Int(5),
    ] = *parsed.heap.items(list)
    else {
        panic!("{:?}", parsed.heap.items(list));
    };
    assert_eq!((parsed.heap.name(a), parsed.heap.name(b)), ("a.A", "a.B"));
    assert_eq!(
        parsed.heap.skipped_names().collect::<Vec<_>>(),
        ["a.A", "a.B"]
    );
    assert_eq!(
        parsed.heap.refusal(a).to_string(),
        "the pickle refers to a.A, which is not allowed in a plain value; no code was executed; keep it \
         out (byte 4)"
    );
    let error = parse::<Nothing>(b"\x80\x02csecret\nA\n0N.").unwrap_err();
    assert!(error.to_string().contains("refers to secret.A"), "{error}");
    let error = parse::<Points>(b"\x80\x02ca\nA\n0N.").unwrap_err();
    assert!(error.to_string().contains("refers to a.A"), "{error}");
}
