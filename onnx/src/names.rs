use std::collections::BTreeSet;
use std::ops::Bound;

use crate::proto::{ModelProto, NodeProto};
use crate::visit;

/// The names in a model: of values and nodes of its graph, and of the branches and loop bodies inside, which must
/// differ from each other.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Names<'a>(BTreeSet<&'a str>);

impl<'a> Names<'a> {
    /// Those of a model.
    pub fn of(model: &'a ModelProto) -> Self {
        let mut names = BTreeSet::new();
        visit::graphs(model, &mut |graph| {
            let values = graph
                .input
                .iter()
                .chain(&graph.output)
                .chain(&graph.value_info);
            names.extend(values.map(|value| &*value.name));
            let sparse = graph.sparse_initializer.iter();
            let sparse = sparse.filter_map(|constant| constant.values.as_ref());
            let constants = graph.initializer.iter().chain(sparse);
            names.extend(constants.map(|constant| &*constant.name));
            names.extend(graph.node.iter().flat_map(of_node));
        });
        names.remove("");
        Self(names)
    }

    /// Whether the model has this name.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// Whether a name begins like this.
    pub fn has_prefix(&self, prefix: &str) -> bool {
        let bounds = (Bound::Included(prefix), Bound::Unbounded);
        let mut from = self.0.range::<str, _>(bounds);
        from.next().is_some_and(|name| name.starts_with(prefix))
    }

    /// The name itself, or with a number if the model has it.
    pub fn unused(&self, name: &str) -> String {
        let numbered = (2..).map(|number| format!("{name}_{number}"));
        let mut names = std::iter::once(name.to_owned()).chain(numbered);
        let unused = names.find(|name| !self.contains(name));
        unused.expect("the numbers have no end")
    }
}

fn of_node(node: &NodeProto) -> impl Iterator<Item = &str> {
    let values = node.input.iter().chain(&node.output);
    values.chain([&node.name]).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::AttributeProto;
    use crate::{GraphBuilder, model};

    #[test]
    fn names_in_branches_count() {
        let mut branch = GraphBuilder::new("branch");
        branch.node("Relu", "loss", &["x"], []);
        let mut graph = GraphBuilder::new("test");
        graph.initializer("w/0", &[1], &[0.0]);
        let branch = AttributeProto {
            g: Some(Box::new(branch.finish())),
            ..AttributeProto::default()
        };
        graph.node("If", "y", &["c"], [branch]);
        let model = model(graph.finish(), "", []);
        let names = Names::of(&model);
        assert_eq!(names.unused("loss"), "loss_2");
        assert_eq!(names.unused("grad"), "grad");
        assert!(names.contains("x") && names.contains("c"));
        assert!(names.has_prefix("w/"));
        assert!(!names.has_prefix("v"));
        assert!(!names.has_prefix("yy"));
    }
}
