"""Indexes of what configs and manifests mention, by which a removal finds what still needs something.

Their bytes are hashed: what an intact one names is needed, whatever rows between say. To read all of them over a
network would cost each removal as much as there are images. So the server keeps an index of the digests in each. It
follows from the bytes alone, by a function. A change of other rows past orlop does not change what it says.

What is found by it is read, and judged by `naming`, since a label or an annotation may mention a digest as well.
"""

from __future__ import annotations

from typing import Final

from orlop.store.rows.naming import ANYTHING

MENTIONED: Final = f"""
CREATE FUNCTION mentioned(document bytea) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 10000 AS $$
    WITH said AS (SELECT encode(document, 'escape') AS whole, chr(92) || chr(92) || 'u00' AS escape)
    SELECT ARRAY(
        SELECT kind || left(part, digits) FROM said,
            (VALUES ('sha256:', 64), ('sha384:', 96), ('sha512:', 128)) AS known (kind, digits),
            unnest(string_to_array(whole, kind)) AS part
        WHERE length(left(part, digits)) = digits AND ltrim(left(part, digits), '0123456789abcdef') = ''
        UNION ALL SELECT '{ANYTHING}' FROM said WHERE strpos(whole, escape) > 0 AND (
            strpos(whole, escape || '6') > 0 OR strpos(whole, escape || '7') > 0 OR EXISTS (
                SELECT 1 FROM unnest(string_to_array(whole, escape || '3')) WITH ORDINALITY AS found (part, number)
                WHERE number > 1 AND left(part, 1) <> '' AND strpos('0123456789aA', left(part, 1)) > 0))) $$;
GRANT EXECUTE ON FUNCTION mentioned(bytea) TO PUBLIC;
"""  # noqa: S608 - constants
"""The function, which does what `naming.mentioned` does. A process that writes a row runs it.

Its costs are those that make the server use the indexes, however few rows there are. In the text of ``escape`` the
server writes each backslash twice.
"""
INDEXES: Final = """
CREATE INDEX image_mentions ON image USING gin (mentioned(config) COLLATE "C");
CREATE INDEX manifest_mentions ON manifest USING gin (mentioned(content) COLLATE "C");
"""
MENTIONS: Final = MENTIONED + INDEXES
"""The statements that add the function and the indexes to the tables of a store."""
AGAIN: Final = f"DROP FUNCTION IF EXISTS mentioned(bytea) CASCADE; {MENTIONS}"
"""The statements that make them anew: what another function has indexed is not what they say."""

_WHO: Final = """SELECT DISTINCT found.{key} FROM unnest(%s::text[], %s::text[]) AS named (one, other),
    LATERAL (SELECT {key} FROM {table}
        WHERE mentioned({column}) COLLATE "C" @> ARRAY[named.one, named.other] OFFSET 0) AS found ORDER BY 1"""
WHICH_IMAGES: Final = _WHO.format(table="image", key="id", column="config")
"""Finds the images whose configs mention both of any of some pairs of digests."""
WHICH_MANIFESTS: Final = _WHO.format(table="manifest", key="digest", column="content")
"""The same of manifests and indexes."""
