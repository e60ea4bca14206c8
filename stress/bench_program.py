# SPDX-License-Identifier: BSD-2-Clause
#
# What stress/bench runs in Python: objects, dictionaries, text and JSON. The argument is how many
# times all of it is done; the output depends on that alone.

import json
import re
import sys


class Entry:
    def __init__(self, number):
        self.name = "entry %d" % (number * 7919 % 100003)
        self.words = [self.name[:i] for i in range(1, len(self.name))]
        self.values = {"number": number, "half": number / 2, "words": self.words}


def work():
    entries = [Entry(i) for i in range(4000)]
    index = {}
    for entry in entries:
        for word in entry.words:
            index.setdefault(word, []).append(entry)
    text = json.dumps([entry.values for entry in entries])
    back = json.loads(text)
    names = sorted(entries, key=lambda entry: entry.name)
    found = re.findall(r'"entry (\d+)', text)
    lines = "\n".join(entry.name for entry in names).replace("entry", "line").split("\n")
    return len(index), len(text), len(back), len(found), len(set(lines))


for _ in range(int(sys.argv[1])):
    result = work()
print(result)
