#!/usr/bin/env python3
"""Makes lca_heights.json: heights of the lowest common ancestors of ImageNet's classes in WordNet, by NLTK and
NetworkX.

    apt-get install wordnet-base        # WordNet 3.0
    pip install nltk==3.10.4 networkx==3.6.1
    python make_lca_heights.py /usr/share/wordnet

NLTK reads WordNet. As in the code of Bertinetto et al. ("Making Better Mistakes"), synsets with a single child
are removed; the height of a synset is then the length of the longest path to a class.
"""

import json
import sys
from io import StringIO
from itertools import combinations
from pathlib import Path

import networkx as nx
import nltk
from nltk.corpus.reader.wordnet import WordNetCorpusReader

CLASSES = Path(__file__).parents[2] / "src" / "imagenet.txt"
ROWS = ["n01440764", "n02099601", "n02123045", "n03769881", "n06874185", "n07747607", "n13133613"]


class DebianWordNet(WordNetCorpusReader):
    """Debian's package lacks the lists of lexicographer files and of senses, which are not needed here."""

    def open(self, file):
        if file == "lexnames":
            return StringIO("".join(f"{number:02} - -\n" for number in range(45)))
        return super().open(file)

    def map_wn(self, version="wordnet"):
        return None


def main():
    nltk.data.path.append(sys.argv[1])  # NLTK reads from these folders only.
    wordnet = DebianWordNet(sys.argv[1], None)
    wnid = lambda synset: f"n{synset.offset():08}"
    classes = [line.split()[0] for line in CLASSES.read_text().splitlines()]
    graph, pending = nx.DiGraph(), list(classes)
    while pending:
        name = pending.pop()
        synset = wordnet.synset_from_pos_and_offset("n", int(name[1:]))
        for parent in map(wnid, synset.hypernyms() + synset.instance_hypernyms()):
            if not graph.has_node(parent):
                pending.append(parent)
            graph.add_edge(parent, name)
    assert nx.is_directed_acyclic_graph(graph)
    assert {node for node, degree in graph.out_degree() if degree == 0} == set(classes)
    while single := next((n for n, degree in graph.out_degree() if degree == 1 and graph.in_degree(n)), None):
        (child,) = graph.successors(single)
        graph.add_edges_from((parent, child) for parent in list(graph.predecessors(single)))
        graph.remove_node(single)
    heights = {}
    for node in reversed(list(nx.topological_sort(graph))):
        heights[node] = max((1 + heights[child] for child in graph.successors(node)), default=0)
    ancestors = {c: nx.ancestors(graph, c) | {c} for c in classes}
    height = lambda a, b: min(heights[node] for node in ancestors[a] & ancestors[b])
    pairs = [0] * (1 + max(heights.values()))
    for a, b in combinations(classes, 2):
        pairs[height(a, b)] += 1
    fixture = {"pairs": pairs, "rows": {row: [height(row, other) for other in classes] for row in ROWS}}
    text = json.dumps(fixture, separators=(",", ":")).replace('],"', '],\n"').replace('{"n', '{\n"n')
    Path(__file__).with_name("lca_heights.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
