/* One table of key positions. A command that it does not list (a module's, say) is left to redis-py, which asks
 * the server. */
#include "keyspec.h"

#include "lanes.h"
#include "words.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef enum {
    FIRST,        /* GET key ... */
    FIRST_TWO,    /* RENAME key key */
    ALL,          /* DEL key... */
    ALL_BUT_LAST, /* BLPOP key... timeout */
    PAIRS,        /* MSET key value... */
    SECOND_ON,    /* BITOP operation key... */
    COUNTED,      /* ZUNION numkeys key... */
    COUNTED_2ND,  /* EVAL script numkeys key... */
    STORED,       /* ZUNIONSTORE key numkeys key... */
    STREAMS,      /* XREAD ... STREAMS key... id... */
    CONTAINER,    /* OBJECT ENCODING key */
} key_position;

typedef struct {
    const char *name;
    uint8_t position;
} spec_entry;

/* Sorted by name: found by bisection. */
static const spec_entry table[] = {
    {"APPEND", FIRST},
    {"BITCOUNT", FIRST},
    {"BITFIELD", FIRST},
    {"BITFIELD_RO", FIRST},
    {"BITOP", SECOND_ON},
    {"BITPOS", FIRST},
    {"BLMOVE", FIRST_TWO},
    {"BLMPOP", COUNTED_2ND},
    {"BLPOP", ALL_BUT_LAST},
    {"BRPOP", ALL_BUT_LAST},
    {"BRPOPLPUSH", FIRST_TWO},
    {"BZMPOP", COUNTED_2ND},
    {"BZPOPMAX", ALL_BUT_LAST},
    {"BZPOPMIN", ALL_BUT_LAST},
    {"COPY", FIRST_TWO},
    {"DECR", FIRST},
    {"DECRBY", FIRST},
    {"DEL", ALL},
    {"DELEX", FIRST},
    {"DIGEST", FIRST},
    {"DUMP", FIRST},
    {"EVAL", COUNTED_2ND},
    {"EVALSHA", COUNTED_2ND},
    {"EVALSHA_RO", COUNTED_2ND},
    {"EVAL_RO", COUNTED_2ND},
    {"EXISTS", ALL},
    {"EXPIRE", FIRST},
    {"EXPIREAT", FIRST},
    {"EXPIRETIME", FIRST},
    {"FCALL", COUNTED_2ND},
    {"FCALL_RO", COUNTED_2ND},
    {"GEOADD", FIRST},
    {"GEODIST", FIRST},
    {"GEOHASH", FIRST},
    {"GEOPOS", FIRST},
    {"GEORADIUS", FIRST},
    {"GEORADIUSBYMEMBER", FIRST},
    {"GEORADIUSBYMEMBER_RO", FIRST},
    {"GEORADIUS_RO", FIRST},
    {"GEOSEARCH", FIRST},
    {"GEOSEARCHSTORE", FIRST_TWO},
    {"GET", FIRST},
    {"GETBIT", FIRST},
    {"GETDEL", FIRST},
    {"GETEX", FIRST},
    {"GETRANGE", FIRST},
    {"GETSET", FIRST},
    {"HDEL", FIRST},
    {"HEXISTS", FIRST},
    {"HEXPIRE", FIRST},
    {"HEXPIREAT", FIRST},
    {"HEXPIRETIME", FIRST},
    {"HGET", FIRST},
    {"HGETALL", FIRST},
    {"HGETDEL", FIRST},
    {"HGETEX", FIRST},
    {"HINCRBY", FIRST},
    {"HINCRBYFLOAT", FIRST},
    {"HKEYS", FIRST},
    {"HLEN", FIRST},
    {"HMGET", FIRST},
    {"HMSET", FIRST},
    {"HPERSIST", FIRST},
    {"HPEXPIRE", FIRST},
    {"HPEXPIREAT", FIRST},
    {"HPEXPIRETIME", FIRST},
    {"HPTTL", FIRST},
    {"HRANDFIELD", FIRST},
    {"HSCAN", FIRST},
    {"HSET", FIRST},
    {"HSETEX", FIRST},
    {"HSETNX", FIRST},
    {"HSTRLEN", FIRST},
    {"HTTL", FIRST},
    {"HVALS", FIRST},
    {"INCR", FIRST},
    {"INCRBY", FIRST},
    {"INCRBYFLOAT", FIRST},
    {"LCS", FIRST_TWO},
    {"LINDEX", FIRST},
    {"LINSERT", FIRST},
    {"LLEN", FIRST},
    {"LMOVE", FIRST_TWO},
    {"LMPOP", COUNTED},
    {"LPOP", FIRST},
    {"LPOS", FIRST},
    {"LPUSH", FIRST},
    {"LPUSHX", FIRST},
    {"LRANGE", FIRST},
    {"LREM", FIRST},
    {"LSET", FIRST},
    {"LTRIM", FIRST},
    {"MEMORY", CONTAINER},
    {"MGET", ALL},
    {"MSET", PAIRS},
    {"MSETNX", PAIRS},
    {"OBJECT", CONTAINER},
    {"PERSIST", FIRST},
    {"PEXPIRE", FIRST},
    {"PEXPIREAT", FIRST},
    {"PEXPIRETIME", FIRST},
    {"PFADD", FIRST},
    {"PFCOUNT", ALL},
    {"PFMERGE", ALL},
    {"PSETEX", FIRST},
    {"PTTL", FIRST},
    {"RENAME", FIRST_TWO},
    {"RENAMENX", FIRST_TWO},
    {"RESTORE", FIRST},
    {"RPOP", FIRST},
    {"RPOPLPUSH", FIRST_TWO},
    {"RPUSH", FIRST},
    {"RPUSHX", FIRST},
    {"SADD", FIRST},
    {"SCARD", FIRST},
    {"SDIFF", ALL},
    {"SDIFFSTORE", ALL},
    {"SET", FIRST},
    {"SETBIT", FIRST},
    {"SETEX", FIRST},
    {"SETNX", FIRST},
    {"SETRANGE", FIRST},
    {"SINTER", ALL},
    {"SINTERCARD", COUNTED},
    {"SINTERSTORE", ALL},
    {"SISMEMBER", FIRST},
    {"SMEMBERS", FIRST},
    {"SMISMEMBER", FIRST},
    {"SMOVE", FIRST_TWO},
    {"SORT", FIRST},
    {"SORT_RO", FIRST},
    {"SPOP", FIRST},
    {"SPUBLISH", FIRST},
    {"SRANDMEMBER", FIRST},
    {"SREM", FIRST},
    {"SSCAN", FIRST},
    {"STRLEN", FIRST},
    {"SUBSTR", FIRST},
    {"SUNION", ALL},
    {"SUNIONSTORE", ALL},
    {"TOUCH", ALL},
    {"TTL", FIRST},
    {"TYPE", FIRST},
    {"UNLINK", ALL},
    {"WATCH", ALL},
    {"XACK", FIRST},
    {"XACKDEL", FIRST},
    {"XADD", FIRST},
    {"XAUTOCLAIM", FIRST},
    {"XCLAIM", FIRST},
    {"XDEL", FIRST},
    {"XDELEX", FIRST},
    {"XGROUP", CONTAINER},
    {"XINFO", CONTAINER},
    {"XLEN", FIRST},
    {"XPENDING", FIRST},
    {"XRANGE", FIRST},
    {"XREAD", STREAMS},
    {"XREADGROUP", STREAMS},
    {"XREVRANGE", FIRST},
    {"XSETID", FIRST},
    {"XTRIM", FIRST},
    {"ZADD", FIRST},
    {"ZCARD", FIRST},
    {"ZCOUNT", FIRST},
    {"ZDIFF", COUNTED},
    {"ZDIFFSTORE", STORED},
    {"ZINCRBY", FIRST},
    {"ZINTER", COUNTED},
    {"ZINTERCARD", COUNTED},
    {"ZINTERSTORE", STORED},
    {"ZLEXCOUNT", FIRST},
    {"ZMPOP", COUNTED},
    {"ZMSCORE", FIRST},
    {"ZPOPMAX", FIRST},
    {"ZPOPMIN", FIRST},
    {"ZRANDMEMBER", FIRST},
    {"ZRANGE", FIRST},
    {"ZRANGEBYLEX", FIRST},
    {"ZRANGEBYSCORE", FIRST},
    {"ZRANGESTORE", FIRST_TWO},
    {"ZRANK", FIRST},
    {"ZREM", FIRST},
    {"ZREMRANGEBYLEX", FIRST},
    {"ZREMRANGEBYRANK", FIRST},
    {"ZREMRANGEBYSCORE", FIRST},
    {"ZREVRANGE", FIRST},
    {"ZREVRANGEBYLEX", FIRST},
    {"ZREVRANGEBYSCORE", FIRST},
    {"ZREVRANK", FIRST},
    {"ZSCAN", FIRST},
    {"ZSCORE", FIRST},
    {"ZUNION", COUNTED},
    {"ZUNIONSTORE", STORED},
};

/* The argument's text: borrowed, in whatever case; NULL when it is no text. */
static const char *
text_of(PyObject *argument, size_t *length)
{
    if (PyBytes_Check(argument)) {
        *length = (size_t)PyBytes_GET_SIZE(argument);
        return PyBytes_AS_STRING(argument);
    }
    if (PyUnicode_Check(argument) && PyUnicode_IS_COMPACT_ASCII(argument)) {
        *length = (size_t)PyUnicode_GET_LENGTH(argument);
        return (const char *)PyUnicode_1BYTE_DATA(argument);
    }
    return NULL;
}

/* The first word of the name in upper case, and in *second the one behind it (NULL: there is none).
 * 0: no name that the table could have; arguments may be in it. */
static int
first_word(PyObject *name, char *word, const char **second)
{
    size_t length = 0, used = 0;
    Py_ssize_t size;
    const char *at = text_of(name, &length);
    *second = NULL;
    if (at == NULL) {
        return 0;
    }
    const char *end = at + length, *first = ar_word_next(&at, end, &size);
    if (size == 0 || ar_word_append(word, &used, first, size) < 0) {
        return 0;
    }
    const char *next = ar_word_next(&at, end, &size);
    if (size > 0) {
        *second = next;
    }
    (void)ar_word_next(&at, end, &size);
    return size == 0;
}

static int
compare_entry(const void *word, const void *entry)
{
    return strcmp(word, ((const spec_entry *)entry)->name);
}

static const spec_entry *
find(const char *word)
{
    return bsearch(word, table, sizeof(table) / sizeof(*table), sizeof(*table), compare_entry);
}

/* The command's entry, or NULL; *second as above. Most names are literals, of ours or of redis-py: interned, so that
 * their address tells them. */
static const spec_entry *
look_up(ar_state *state, PyObject *name, const char **second)
{
    ar_known_name *known = &state->known_names[((uintptr_t)name >> 4) % AR_KNOWN_NAMES];
    if (known->name == name) {
        *second = NULL;
        return known->entry;
    }
    char word[AR_WORDS_MAX];
    const spec_entry *entry = first_word(name, word, second) ? find(word) : NULL;
    if (*second == NULL && PyUnicode_CheckExact(name) && PyUnicode_CHECK_INTERNED(name)) {
        Py_XSETREF(known->name, Py_NewRef(name));
        known->entry = entry;
    }
    return entry;
}

void
ar_keyspec_forget(ar_state *state)
{
    for (size_t i = 0; i < AR_KNOWN_NAMES; i++) {
        Py_CLEAR(state->known_names[i].name);
    }
}

/* The number of keys that an argument says, 0 when it says nothing of the kind. */
static Py_ssize_t
number_of(PyObject *argument)
{
    if (PyLong_CheckExact(argument)) {
        Py_ssize_t number = PyLong_AsSsize_t(argument);
        PyErr_Clear();
        return number > 0 ? number : 0;
    }
    size_t length;
    const char *text = text_of(argument, &length);
    Py_ssize_t number = 0;
    for (size_t i = 0; text != NULL && i < length; i++) {
        if (!Py_ISDIGIT((unsigned char)text[i]) || number >= PY_SSIZE_T_MAX / 10) {
            return 0;
        }
        number = number * 10 + (text[i] - '0');
    }
    return number;
}

/* Keys stand behind their number, which is at `position`. */
static int
counted(PyObject *const *rest, Py_ssize_t count, Py_ssize_t position, ar_keys *keys)
{
    Py_ssize_t number = position < count ? number_of(rest[position]) : 0;
    if (number == 0 || number >= count - position) {
        return 0;
    }
    keys->first = position + 1;
    keys->last = position + number;
    return 1;
}

static int
streams(PyObject *const *rest, Py_ssize_t count, ar_keys *keys)
{
    Py_ssize_t word = ar_lanes_find_streams(rest, count, NULL);
    Py_ssize_t number = (count - word - 1) / 2;
    keys->first = word + 1;
    keys->last = word + number;
    return number > 0;
}

/* "OBJECT", "ENCODING", key; or "OBJECT ENCODING", key. */
static int
contained(const char *word, const char *joined, PyObject *const *rest, Py_ssize_t count,
          ar_keys *keys)
{
    Py_ssize_t position = joined != NULL ? 0 : 1;
    if (position >= count) {
        return 0;
    }
    if (strcmp(word, "MEMORY") == 0) { /* the others, STATS say, are about the server */
        int usage = joined != NULL ? PyOS_strnicmp(joined, "USAGE", 5) == 0 &&
                                         (joined[5] == '\0' || ar_word_is_space(joined[5]))
                                   : ar_lanes_is_word(rest[0], "USAGE");
        if (!usage) {
            return 0;
        }
    }
    keys->first = keys->last = position;
    return 1;
}

int
ar_keyspec_find(ar_state *state, PyObject *name, PyObject *const *rest, Py_ssize_t count,
                ar_keys *keys)
{
    const char *joined;
    const spec_entry *entry = look_up(state, name, &joined);
    if (entry == NULL || count == 0 || (joined != NULL && entry->position != CONTAINER)) {
        return 0;
    }
    *keys = (ar_keys){.step = 1, .other = -1};
    switch ((key_position)entry->position) {
    case FIRST:
        break;
    case FIRST_TWO:
        keys->last = 1;
        break;
    case ALL:
        keys->last = count - 1;
        break;
    case ALL_BUT_LAST:
        keys->last = count - 2;
        break;
    case PAIRS:
        keys->last = (count - 1) & ~(Py_ssize_t)1;
        keys->step = 2;
        break;
    case SECOND_ON:
        keys->first = 1;
        keys->last = count - 1;
        break;
    case COUNTED:
        return counted(rest, count, 0, keys);
    case COUNTED_2ND:
        return counted(rest, count, 1, keys);
    case STORED:
        keys->other = 0;
        return counted(rest, count, 1, keys);
    case STREAMS:
        return streams(rest, count, keys);
    case CONTAINER:
        return contained(entry->name, joined, rest, count, keys);
    }
    return keys->first <= keys->last && keys->last < count;
}

ar_join
ar_keyspec_join(PyObject *name)
{
    static const struct {
        const char *name;
        ar_join join;
    } known[] = {
        {"MGET", AR_JOIN_LIST},  {"MSET", AR_JOIN_OK},   {"DEL", AR_JOIN_SUM},
        {"EXISTS", AR_JOIN_SUM}, {"TOUCH", AR_JOIN_SUM}, {"UNLINK", AR_JOIN_SUM},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if (ar_lanes_is_word(name, known[i].name)) {
            return known[i].join;
        }
    }
    return AR_JOIN_NONE;
}
