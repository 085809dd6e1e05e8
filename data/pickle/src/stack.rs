use crate::{Object, PickleErrorKind, Vocabulary};

/// Maximum number of objects on the stack, and of marks; pickles push thousands of objects before they use them.
const MAX_DEPTH: usize = 1 << 16;

/// The stack of the interpreter, and the positions of marks.
#[derive(Debug)]
pub(super) struct Stack<V: Vocabulary> {
    objects: Vec<Object<V>>,
    marks: Vec<usize>,
}

impl<V: Vocabulary> Stack<V> {
    pub(super) fn new() -> Self {
        Self {
            objects: Vec::new(),
            marks: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, object: Object<V>) -> Result<(), PickleErrorKind> {
        check(self.objects.len())?;
        self.objects.push(object);
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Result<Object<V>, PickleErrorKind> {
        let &[object] = self.top()?;
        self.drop(1);
        Ok(object)
    }

    /// The topmost objects, none of them below a mark.
    pub(super) fn top<const N: usize>(&self) -> Result<&[Object<V>; N], PickleErrorKind> {
        let objects = self.topmost(N)?;
        Ok(objects.try_into().expect("the slice has N objects"))
    }

    /// The topmost objects, none of them below a mark.
    pub(super) fn topmost(&self, count: usize) -> Result<&[Object<V>], PickleErrorKind> {
        let lowest = self.marks.last().copied().unwrap_or(0);
        match self.objects.len().checked_sub(count) {
            Some(start) if start >= lowest => Ok(&self.objects[start..]),
            _ => Err(PickleErrorKind::Unexpected {
                expected: "an object on the stack",
                got: "nothing".to_owned(),
            }),
        }
    }

    /// Removes the topmost objects, which must exist.
    pub(super) fn drop(&mut self, count: usize) {
        self.objects.truncate(self.objects.len() - count);
    }

    pub(super) fn mark(&mut self) -> Result<(), PickleErrorKind> {
        check(self.marks.len())?;
        self.marks.push(self.objects.len());
        Ok(())
    }

    /// Removes the topmost mark, and returns the number of objects above it.
    pub(super) fn unmark(&mut self) -> Result<usize, PickleErrorKind> {
        let mark = self
            .marks
            .pop()
            .ok_or_else(|| PickleErrorKind::Unexpected {
                expected: "a mark",
                got: "none".to_owned(),
            })?;
        Ok(self.objects.len() - mark)
    }
}

fn check(depth: usize) -> Result<(), PickleErrorKind> {
    if depth < MAX_DEPTH {
        Ok(())
    } else {
        Err(PickleErrorKind::TooMany {
            what: "objects on the stack",
            limit: MAX_DEPTH,
        })
    }
}
