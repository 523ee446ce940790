/* One table of command properties. A command it does not list is taken for one with side effects that must
 * not be repeated, and that needs no connection of its own. */
#include "lanes.h"

#include "words.h"

#include <stdlib.h>
#include <string.h>

/* Where a blocking command says how long. */
typedef enum {
    BLOCK_NONE,
    BLOCK_FIRST_SECONDS, /* BLMPOP timeout ... */
    BLOCK_LAST_SECONDS,  /* BLPOP key ... timeout */
    BLOCK_LAST_MILLIS,   /* WAIT replicas timeout */
    BLOCK_OPTION_MILLIS, /* XREAD ... BLOCK milliseconds ... */
} block_position;

typedef struct {
    const char *name;
    uint8_t properties;
    uint8_t block;
} command_entry;

#define READ(name)                                                                                 \
    {                                                                                              \
        name, AR_REPLAYABLE | AR_READ, BLOCK_NONE                                                  \
    }
/* A write that leaves the same state however often it is done. */
#define SAME(name)                                                                                 \
    {                                                                                              \
        name, AR_REPLAYABLE, BLOCK_NONE                                                            \
    }
#define STATE(name)                                                                                \
    {                                                                                              \
        name, AR_STATEFUL, BLOCK_NONE                                                              \
    }
#define BLOCK(name, position)                                                                      \
    {                                                                                              \
        name, AR_BLOCKING, position                                                                \
    }

/* A password is among its arguments. */
#define SECRET(name)                                                                               \
    {                                                                                              \
        name, AR_SECRET, BLOCK_NONE                                                                \
    }
/* One whose reply takes something away: see ar_lanes_taking(). */
#define TAKE(name, position)                                                                       \
    {                                                                                              \
        name, AR_BLOCKING | AR_TAKES, position                                                     \
    }

/* Sorted by name: found by bisection. */
static const command_entry table[] = {
    SECRET("ACL SETUSER"),
    STATE("ASKING"),
    {"AUTH", AR_STATEFUL | AR_SECRET, BLOCK_NONE},
    READ("BITCOUNT"),
    READ("BITFIELD_RO"),
    READ("BITPOS"),
    TAKE("BLMOVE", BLOCK_LAST_SECONDS),
    TAKE("BLMPOP", BLOCK_FIRST_SECONDS),
    TAKE("BLPOP", BLOCK_LAST_SECONDS),
    TAKE("BRPOP", BLOCK_LAST_SECONDS),
    TAKE("BRPOPLPUSH", BLOCK_LAST_SECONDS),
    TAKE("BZMPOP", BLOCK_FIRST_SECONDS),
    TAKE("BZPOPMAX", BLOCK_LAST_SECONDS),
    TAKE("BZPOPMIN", BLOCK_LAST_SECONDS),
    STATE("CLIENT CACHING"),
    READ("CLIENT GETNAME"),
    READ("CLIENT ID"),
    READ("CLIENT INFO"),
    READ("CLIENT LIST"),
    STATE("CLIENT NO-EVICT"),
    STATE("CLIENT NO-TOUCH"),
    STATE("CLIENT REPLY"),
    SAME("CLIENT SETNAME"),
    STATE("CLIENT TRACKING"),
    READ("CLUSTER INFO"),
    READ("CLUSTER KEYSLOT"),
    READ("CLUSTER NODES"),
    READ("CLUSTER SHARDS"),
    READ("CLUSTER SLOTS"),
    READ("COMMAND"),
    READ("COMMAND COUNT"),
    READ("COMMAND DOCS"),
    READ("COMMAND INFO"),
    READ("CONFIG GET"),
    {"CONFIG SET", AR_REPLAYABLE | AR_SECRET, BLOCK_NONE},
    READ("DBSIZE"),
    SAME("DEL"),
    STATE("DISCARD"),
    READ("DUMP"),
    READ("ECHO"),
    READ("EVALSHA_RO"),
    READ("EVAL_RO"),
    STATE("EXEC"),
    READ("EXISTS"),
    SAME("EXPIRE"),
    SAME("EXPIREAT"),
    READ("EXPIRETIME"),
    READ("FCALL_RO"),
    READ("GEODIST"),
    READ("GEOHASH"),
    READ("GEOPOS"),
    READ("GEORADIUSBYMEMBER_RO"),
    READ("GEORADIUS_RO"),
    READ("GEOSEARCH"),
    READ("GET"),
    READ("GETBIT"),
    READ("GETRANGE"),
    SAME("HDEL"),
    {"HELLO", AR_STATEFUL | AR_SECRET, BLOCK_NONE},
    READ("HEXISTS"),
    READ("HGET"),
    READ("HGETALL"),
    READ("HKEYS"),
    READ("HLEN"),
    READ("HMGET"),
    SAME("HMSET"),
    READ("HRANDFIELD"),
    READ("HSCAN"),
    SAME("HSET"),
    READ("HSTRLEN"),
    READ("HVALS"),
    READ("INFO"),
    READ("KEYS"),
    READ("LASTSAVE"),
    READ("LATENCY LATEST"),
    READ("LCS"),
    READ("LINDEX"),
    READ("LLEN"),
    READ("LOLWUT"),
    READ("LPOS"),
    READ("LRANGE"),
    SAME("LSET"),
    READ("MEMORY STATS"),
    READ("MEMORY USAGE"),
    READ("MGET"),
    SECRET("MIGRATE"),
    STATE("MONITOR"),
    SAME("MSET"),
    STATE("MULTI"),
    READ("OBJECT ENCODING"),
    READ("OBJECT FREQ"),
    READ("OBJECT IDLETIME"),
    READ("OBJECT REFCOUNT"),
    SAME("PERSIST"),
    SAME("PEXPIRE"),
    SAME("PEXPIREAT"),
    READ("PEXPIRETIME"),
    SAME("PFADD"),
    READ("PFCOUNT"),
    SAME("PFMERGE"),
    READ("PING"),
    SAME("PSETEX"),
    STATE("PSUBSCRIBE"),
    STATE("PSYNC"),
    READ("PTTL"),
    READ("PUBSUB CHANNELS"),
    READ("PUBSUB NUMPAT"),
    READ("PUBSUB NUMSUB"),
    STATE("PUNSUBSCRIBE"),
    STATE("QUIT"),
    READ("RANDOMKEY"),
    STATE("READONLY"),
    STATE("READWRITE"),
    STATE("REPLCONF"), /* ACK has no reply */
    STATE("RESET"),
    READ("ROLE"),
    SAME("SADD"),
    READ("SCAN"),
    READ("SCARD"),
    STATE("SCRIPT DEBUG"),
    READ("SCRIPT EXISTS"),
    SAME("SCRIPT LOAD"),
    READ("SDIFF"),
    STATE("SELECT"),
    SAME("SETBIT"),
    SAME("SETEX"),
    SAME("SETRANGE"),
    READ("SINTER"),
    READ("SINTERCARD"),
    READ("SISMEMBER"),
    READ("SLOWLOG GET"),
    READ("SLOWLOG LEN"),
    READ("SMEMBERS"),
    READ("SMISMEMBER"),
    READ("SORT_RO"),
    READ("SRANDMEMBER"),
    SAME("SREM"),
    READ("SSCAN"),
    STATE("SSUBSCRIBE"),
    READ("STRLEN"),
    STATE("SUBSCRIBE"),
    READ("SUBSTR"),
    READ("SUNION"),
    STATE("SUNSUBSCRIBE"),
    STATE("SYNC"),
    READ("TIME"),
    SAME("TOUCH"),
    READ("TTL"),
    READ("TYPE"),
    SAME("UNLINK"),
    STATE("UNSUBSCRIBE"),
    STATE("UNWATCH"),
    BLOCK("WAIT", BLOCK_LAST_MILLIS),
    BLOCK("WAITAOF", BLOCK_LAST_MILLIS),
    STATE("WATCH"),
    READ("XINFO CONSUMERS"),
    READ("XINFO GROUPS"),
    READ("XINFO STREAM"),
    READ("XLEN"),
    READ("XPENDING"),
    READ("XRANGE"),
    READ("XREAD"),
    {"XREADGROUP", 0, BLOCK_NONE},
    READ("XREVRANGE"),
    READ("ZCARD"),
    READ("ZCOUNT"),
    READ("ZDIFF"),
    READ("ZINTER"),
    READ("ZINTERCARD"),
    READ("ZLEXCOUNT"),
    READ("ZMSCORE"),
    READ("ZRANDMEMBER"),
    READ("ZRANGE"),
    READ("ZRANGEBYLEX"),
    READ("ZRANGEBYSCORE"),
    READ("ZRANK"),
    SAME("ZREM"),
    READ("ZREVRANGE"),
    READ("ZREVRANGEBYLEX"),
    READ("ZREVRANGEBYSCORE"),
    READ("ZREVRANK"),
    READ("ZSCAN"),
    READ("ZSCORE"),
    READ("ZUNION"),
};

static int
compare_entry(const void *name, const void *entry)
{
    return strcmp(name, ((const command_entry *)entry)->name);
}

static const command_entry *
find_name(const char *name)
{
    return bsearch(name, table, sizeof(table) / sizeof(*table), sizeof(*table), compare_entry);
}

/* By the first word; then, for containers, by the first two: ("CLIENT LIST") or ("CLIENT", "LIST"). *more: what is
 * given as the name has arguments in it, as in ("SELECT 1"). */
static const command_entry *
find(PyObject *const *argv, Py_ssize_t argc, int *more)
{
    char name[AR_WORDS_MAX];
    size_t length = 0;
    Py_ssize_t size = 0;
    const char *at = ar_word_text(argv[0], &size);
    *more = 0;
    if (at == NULL) {
        return NULL;
    }
    const char *end = at + size, *word = ar_word_next(&at, end, &size);
    if (ar_word_append(name, &length, word, size) < 0) {
        return NULL;
    }
    const command_entry *entry = find_name(name);
    word = ar_word_next(&at, end, &size);
    if (entry != NULL || length + 1 >= AR_WORDS_MAX) {
        *more = size > 0;
        return entry;
    }
    name[length++] = ' ';
    if (size == 0) {
        return argc > 1 && ar_word_append_argument(name, &length, argv[1]) == 0 ? find_name(name)
                                                                                : NULL;
    }
    entry = ar_word_append(name, &length, word, size) == 0 ? find_name(name) : NULL;
    (void)ar_word_next(&at, end, &size);
    *more = size > 0;
    return entry;
}

/* Neither str nor bytes: what is in it may change until it is sent, and could be any word. */
static int
is_unread(PyObject *argument)
{
    return PyByteArray_Check(argument) || PyMemoryView_Check(argument);
}

/* Whether there are commands of two words, of which this is the first. */
static int
is_container(const char *word, Py_ssize_t size)
{
    char name[AR_WORDS_MAX];
    size_t length = 0;
    if (ar_word_append(name, &length, word, size) < 0) {
        return 0;
    }
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        if (strncmp(table[i].name, name, length) == 0 && table[i].name[length] == ' ') {
            return 1;
        }
    }
    return 0;
}

/* Whether it takes a second word to know which command it is. */
static int
names_container(PyObject *name)
{
    Py_ssize_t size = 0;
    const char *at = ar_word_text(name, &size), *end = at != NULL ? at + size : at;
    const char *word = ar_word_next(&at, end, &size);
    return size > 0 && is_container(word, size);
}

PyObject *
ar_lanes_name(PyObject *name)
{
    Py_ssize_t size;
    const char *text = ar_word_text(name, &size);
    if (text == NULL) {
        return PyUnicode_FromString(Py_TYPE(name)->tp_name);
    }
    const char *at = text, *end = text + size;
    const char *first = ar_word_next(&at, end, &size);
    if (size == end - text) {
        return Py_NewRef(name);
    }
    const char *shown = at;
    if (is_container(first, size)) {
        (void)ar_word_next(&at, end, &size);
        shown = at;
    }
    return PyUnicode_DecodeUTF8(first, shown - first, "replace");
}

int
ar_lanes_is_word(PyObject *argument, const char *word)
{
    char text[AR_WORDS_MAX];
    size_t length = 0;
    return ar_word_append_argument(text, &length, argument) == 0 && strcmp(text, word) == 0;
}

/* A group and a consumer may have any name, that of an option, too. */
Py_ssize_t
ar_lanes_find_streams(PyObject *const *rest, Py_ssize_t count, PyObject **block)
{
    Py_ssize_t i = 0;
    for (; i < count && !ar_lanes_is_word(rest[i], "STREAMS"); i++) {
        if (ar_lanes_is_word(rest[i], "GROUP")) {
            i += 2;
        } else if (block != NULL && i + 1 < count && ar_lanes_is_word(rest[i], "BLOCK")) {
            *block = rest[i + 1];
        }
    }
    return i < count ? i : count;
}

/* The argument behind the option BLOCK of XREAD and XREADGROUP, or NULL. */
static PyObject *
block_option(PyObject *const *argv, Py_ssize_t argc)
{
    PyObject *block = NULL;
    (void)ar_lanes_find_streams(argv + 1, argc - 1, &block);
    return block;
}

static int
is_stream_read(const command_entry *entry)
{
    return strncmp(entry->name, "XREAD", 5) == 0;
}

/* SET is a last-write-wins write only without a condition and without the old value as its reply. */
static uint8_t
set_properties(PyObject *const *argv, Py_ssize_t argc)
{
    for (Py_ssize_t i = 3; i < argc; i++) {
        if (ar_lanes_is_word(argv[i], "NX") || ar_lanes_is_word(argv[i], "XX") ||
            ar_lanes_is_word(argv[i], "GET") || ar_lanes_is_word(argv[i], "IFEQ") ||
            ar_lanes_is_word(argv[i], "IFNE") || ar_lanes_is_word(argv[i], "IFDEQ") ||
            ar_lanes_is_word(argv[i], "IFDNE") || is_unread(argv[i])) {
            return 0;
        }
    }
    return AR_REPLAYABLE;
}

/* EXPIRE and its like with a condition (NX, XX, GT, LT) are not repeated. */
static int
is_conditional_expire(const command_entry *entry, Py_ssize_t argc)
{
    return argc > 3 && !(entry->properties & AR_READ) && strstr(entry->name, "EXPIRE") != NULL;
}

/* Of a command whose name has arguments in it, which nobody looks at: it may block, and is not repeated. */
static uint8_t
untold_properties(const command_entry *entry)
{
    if (is_stream_read(entry)) {
        return AR_BLOCKING;
    }
    uint8_t properties = entry->properties & (uint8_t)~AR_TAKES;
    return properties & AR_READ ? properties : properties & (uint8_t)~AR_REPLAYABLE;
}

uint8_t
ar_lanes_properties(PyObject *const *argv, Py_ssize_t argc)
{
    if (!PyUnicode_Check(argv[0]) && !PyBytes_Check(argv[0])) {
        return AR_STATEFUL | AR_SECRET; /* a bytearray, say: it could be any command */
    }
    int more;
    const command_entry *entry = find(argv, argc, &more);
    if (entry == NULL) {
        if (argc > 1 && is_unread(argv[1]) && names_container(argv[0])) {
            return AR_STATEFUL | AR_SECRET;
        }
        return ar_lanes_is_word(argv[0], "SET") ? set_properties(argv, argc) : 0;
    }
    if (more) {
        return untold_properties(entry);
    }
    if (is_stream_read(entry) && block_option(argv, argc) != NULL) {
        return AR_BLOCKING;
    }
    if (is_conditional_expire(entry, argc)) {
        return 0;
    }
    return entry->properties;
}

ar_taking
ar_lanes_taking(PyObject *name)
{
    static const struct {
        const char *name;
        ar_taking taking;
    } known[] = {
        {"BLPOP", AR_TAKES_FIRST},     {"BRPOP", AR_TAKES_LAST},
        {"BLMPOP", AR_TAKES_SEVERAL},  {"BZPOPMIN", AR_TAKES_SCORED},
        {"BZPOPMAX", AR_TAKES_SCORED}, {"BZMPOP", AR_TAKES_SEVERAL_SCORED},
        {"BLMOVE", AR_MOVES},          {"BRPOPLPUSH", AR_MOVES},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if (ar_lanes_is_word(name, known[i].name)) {
            return known[i].taking;
        }
    }
    return AR_TAKES_NOTHING;
}

double
ar_lanes_block_seconds(PyObject *const *argv, Py_ssize_t argc)
{
    int more;
    const command_entry *entry = find(argv, argc, &more);
    PyObject *argument = NULL;
    double scale = 1.0;
    if (entry == NULL || more || argc < 2) {
        return -1.0;
    }
    switch (is_stream_read(entry) ? BLOCK_OPTION_MILLIS : (block_position)entry->block) {
    case BLOCK_FIRST_SECONDS:
        argument = argv[1];
        break;
    case BLOCK_LAST_SECONDS:
        argument = argv[argc - 1];
        break;
    case BLOCK_LAST_MILLIS:
        argument = argv[argc - 1];
        scale = 0.001;
        break;
    case BLOCK_OPTION_MILLIS:
        argument = block_option(argv, argc);
        scale = 0.001;
        break;
    case BLOCK_NONE:
        break;
    }
    if (argument == NULL) {
        return -1.0;
    }
    PyObject *number = PyNumber_Float(argument);
    if (number == NULL) {
        PyErr_Clear(); /* the server will say what is wrong with it */
        return -1.0;
    }
    double seconds = PyFloat_AS_DOUBLE(number) * scale;
    Py_DECREF(number);
    return seconds;
}
