-- SPDX-License-Identifier: BSD-2-Clause
--
-- What stress/bench runs in SQLite, in memory: rows of text, an index, joins, groups and deletions.
-- The table `work` has the number of rows; the output depends on that alone.

CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, note TEXT, kind INTEGER);
WITH RECURSIVE counter (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter, work WHERE n < rows)
INSERT INTO item
    SELECT n, 'name ' || (n * 7919 % 100003), hex(zeroblob(n % 90)), n % 211 FROM counter;
CREATE INDEX item_name ON item (name);
CREATE INDEX item_kind ON item (kind, note);
SELECT count(*), sum(length(a.note)) FROM item a JOIN item b ON a.name = b.name AND a.id <> b.id;
SELECT count(*), max(length(joined))
    FROM (SELECT kind, group_concat(name, ',') AS joined FROM item GROUP BY kind);
SELECT count(DISTINCT substr(name, 3, 5) || note) FROM item;
DELETE FROM item WHERE id % 3 = 0;
UPDATE item SET note = note || name, kind = kind + 1 WHERE id % 5 = 0;
SELECT count(*), sum(kind), sum(length(note)) FROM item;
SELECT replace(upper(name), 'NAME', 'n'), length(note) FROM item ORDER BY note DESC, name LIMIT 3;
