use crate::{Object, PickleFault, Vocabulary};

/// Objects on the stack, and marks. Pickles put down their objects in thousands.
const MAX_DEPTH: usize = 1 << 16;

/// What a pickle works on, with the places that are marked.
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

    pub(super) fn push(&mut self, object: Object<V>) -> Result<(), PickleFault> {
        check(self.objects.len())?;
        self.objects.push(object);
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Result<Object<V>, PickleFault> {
        let &[object] = self.top()?;
        self.drop(1);
        Ok(object)
    }

    /// The highest objects, none of them below a mark.
    pub(super) fn top<const N: usize>(&self) -> Result<&[Object<V>; N], PickleFault> {
        let objects = self.highest(N)?;
        Ok(objects.try_into().expect("there are N"))
    }

    /// The highest objects, none of them below a mark.
    pub(super) fn highest(&self, count: usize) -> Result<&[Object<V>], PickleFault> {
        let lowest = self.marks.last().copied().unwrap_or(0);
        match self.objects.len().checked_sub(count) {
            Some(start) if start >= lowest => Ok(&self.objects[start..]),
            _ => Err(PickleFault::Unexpected {
                expected: "an object on the stack",
                got: "nothing".to_owned(),
            }),
        }
    }

    /// Takes away the highest objects, which are there.
    pub(super) fn drop(&mut self, count: usize) {
        self.objects.truncate(self.objects.len() - count);
    }

    pub(super) fn mark(&mut self) -> Result<(), PickleFault> {
        check(self.marks.len())?;
        self.marks.push(self.objects.len());
        Ok(())
    }

    /// Takes away the highest mark; the number of objects above it.
    pub(super) fn unmark(&mut self) -> Result<usize, PickleFault> {
        let mark = self.marks.pop().ok_or_else(|| PickleFault::Unexpected {
            expected: "a mark",
            got: "none".to_owned(),
        })?;
        Ok(self.objects.len() - mark)
    }
}

fn check(depth: usize) -> Result<(), PickleFault> {
    if depth < MAX_DEPTH {
        Ok(())
    } else {
        Err(PickleFault::TooMany {
            what: "objects on the stack",
            limit: MAX_DEPTH,
        })
    }
}
