#!/usr/bin/env python3
"""Makes src/wordnet.txt: WordNet's is-a relation above the 1,000 classes of ILSVRC-2012.

    apt-get install wordnet-base        # WordNet 3.0
    python make_wordnet.py /usr/share/wordnet/data.noun

The wnid of an ImageNet class is `n` and the offset of its synset in WordNet 3.0's `data.noun`. Each line of
the result is a synset, followed by its hypernyms; the first 1,000 lines are the classes in their order, the
others their ancestors by wnid. The license of WordNet is that at the head of `data.noun`; it is written to
src/wordnet.license.txt.
"""

import sys
from pathlib import Path

HYPERNYM, INSTANCE_HYPERNYM = "@", "@i"


def read(path):
    """The license, and the hypernyms of each synset. The format is that of `man 5 wndb`."""
    license, hypernyms = [], {}
    for line in path.read_text(encoding="ascii").splitlines():
        if line.startswith("  "):
            license.append(line[2:].partition(" ")[2].strip())
            continue
        fields = line.split()
        words = int(fields[3], 16)
        first = 4 + 2 * words
        pointers = [fields[at : at + 3] for at in range(first + 1, first + 1 + 4 * int(fields[first]), 4)]
        hypernyms["n" + fields[0]] = [
            "n" + offset
            for symbol, offset, part in pointers
            if symbol in (HYPERNYM, INSTANCE_HYPERNYM) and part == "n"
        ]
    return license, hypernyms


def main():
    license, hypernyms = read(Path(sys.argv[1]))
    source = Path(__file__).with_name("src")
    classes = [line.split()[0] for line in (source / "imagenet.txt").read_text().splitlines()]
    found, pending = set(), list(classes)
    while pending:
        synset = pending.pop()
        if synset not in found:
            found.add(synset)
            pending += hypernyms[synset]
    order = classes + sorted(found - set(classes))
    lines = [" ".join([synset, *hypernyms[synset]]) for synset in order]
    (source / "wordnet.txt").write_text("\n".join(lines) + "\n")
    text = "\n".join(license).strip()
    (source / "wordnet.license.txt").write_text(text + "\n")


if __name__ == "__main__":
    main()
