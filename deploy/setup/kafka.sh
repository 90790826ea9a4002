#!/usr/bin/env bash
# Makes sure that Apache Kafka's jars are in the cache, and prints their folder.
#
# Kafka comes from Maven as the libraries it consists of. The versions are pinned in
# tests/kafka/pom.xml, the contents in tests/kafka/jars.sha256. After a change of the first,
# `kafka.sh --pin` writes the second anew.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

POM="$ROOT/tests/kafka/pom.xml"
PINS="$ROOT/tests/kafka/jars.sha256"
VERSION="$(sed -n 's|.*<kafka.version>\(.*\)</kafka.version>.*|\1|p' "$POM")"

copy_jars() {
    mvn --quiet --batch-mode -Dstyle.color=never --file "$POM" \
        org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$STAGING/libs" >&2 ||
        fail "Kafka $VERSION could not be fetched with Maven"
}

pin_jars() {
    (cd "$STAGING/libs" && LC_ALL=C sha256sum -- *.jar) >"$PINS"
    say "wrote $PINS"
}

# Each jar as pinned, and no other jar.
check_jars() {
    (cd "$STAGING/libs" && sha256sum --check --quiet --strict "$PINS" >&2) ||
        fail "a jar of Kafka $VERSION is not the one that tests/kafka/jars.sha256 names"
    diff <(cut -c 67- "$PINS") <(cd "$STAGING/libs" && LC_ALL=C ls) >&2 ||
        fail "Kafka $VERSION has jars that tests/kafka/jars.sha256 does not name"
}

lock_cache
if [ "${1:-}" = --pin ]; then
    open_staging
    copy_jars
    pin_jars
    exit
fi

FOLDER="$CACHE/kafka-$VERSION-$(cat "$POM" "$PINS" | short_hash)"
if [ ! -d "$FOLDER/libs" ]; then
    say "fetching Apache Kafka $VERSION"
    open_staging
    copy_jars
    check_jars
    publish "$FOLDER"
fi
printf '%s\n' "$FOLDER/libs"
