/* What a connection says first: HELLO 3 with AUTH and the client's name, who we are, SELECT - in one write.
 * A server that does not know HELLO gets AUTH and the rest in RESP2 instead. */
#include "connection.h"

#include <string.h>

enum { STEP_HELLO, STEP_AUTH, STEP_ID, STEP_SETNAME, STEP_SETINFO, STEP_READONLY, STEP_SELECT };

static int
say(ar_conn *conn, int step, PyObject *words)
{
    ar_outq_mark mark = ar_outq_get_mark(&conn->out);
    if (ar_encode_command(conn->module_state, &conn->out, &conn->config->codec,
                          &PyTuple_GET_ITEM(words, 0), PyTuple_GET_SIZE(words)) < 0) {
        return -1;
    }
    ar_outq_keep_secret(&conn->out, mark);
    conn->steps[conn->step_count++] = (unsigned char)step;
    return 0;
}

/* What a codec has made of a password is in nobody else's hands. */
static void
wipe_copies(PyObject *settled, PyObject *words)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(words); i++) {
        PyObject *copy = PyTuple_GET_ITEM(settled, i);
        if (copy != PyTuple_GET_ITEM(words, i) && PyBytes_CheckExact(copy) &&
            PyBytes_GET_SIZE(copy) > 1 && Py_REFCNT(copy) == 1) {
            OPENSSL_cleanse(PyBytes_AS_STRING(copy), (size_t)PyBytes_GET_SIZE(copy));
        }
    }
}

/* Encodes the words (a tuple, stolen) as one command. The user's codec may run, and close the client. */
static int
say_tuple(ar_conn *conn, int step, PyObject *words)
{
    if (words == NULL) {
        return -1;
    }
    int result = -1;
    PyObject *settled = ar_arguments_settle(conn->module_state, &conn->config->codec, words);
    if (settled != NULL && conn->state != AR_CONN_HANDSHAKE) {
        PyErr_SetString(conn->module_state->ConnectionError,
                        "The connection was closed meanwhile.");
    } else if (settled != NULL) {
        result = say(conn, step, settled);
        wipe_copies(settled, words);
    }
    Py_XDECREF(settled);
    Py_DECREF(words);
    return result;
}

static int
say_set_info(ar_conn *conn, const char *attribute, PyObject *value)
{
    if (value == Py_None) {
        return 0;
    }
    return say_tuple(conn, STEP_SETINFO,
                     Py_BuildValue("(sssO)", "CLIENT", "SETINFO", attribute, value));
}

/* What follows authentication, in either protocol. */
static int
say_rest(ar_conn *conn)
{
    const ArConfig *config = conn->config;
    /* HELLO has told it already. A command that blocks can be called off by it. */
    if (conn->protocol == 2 && conn->lane == AR_LANE_LEASED &&
        say_tuple(conn, STEP_ID, Py_BuildValue("(ss)", "CLIENT", "ID")) < 0) {
        return -1;
    }
    if (config->client_name != Py_None &&
        say_tuple(conn, STEP_SETNAME,
                  Py_BuildValue("(ssO)", "CLIENT", "SETNAME", config->client_name)) < 0) {
        return -1;
    }
    if (say_set_info(conn, "LIB-NAME", config->lib_name) < 0 ||
        say_set_info(conn, "LIB-VER", config->lib_version) < 0) {
        return -1;
    }
    if (config->readonly && say_tuple(conn, STEP_READONLY, Py_BuildValue("(s)", "READONLY")) < 0) {
        return -1;
    }
    if (config->db != 0 &&
        say_tuple(conn, STEP_SELECT, Py_BuildValue("(sL)", "SELECT", config->db)) < 0) {
        return -1;
    }
    return 0;
}

static int
check_credentials(PyObject *credentials)
{
    if (credentials == Py_None ||
        (PyTuple_Check(credentials) && PyTuple_GET_SIZE(credentials) >= 1 &&
         PyTuple_GET_SIZE(credentials) <= 2)) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError,
                 "a credential provider returns (password,) or (username, password), not %s",
                 Py_TYPE(credentials)->tp_name);
    return -1;
}

static int
say_hello(ar_conn *conn, PyObject *credentials)
{
    PyObject *words;
    if (credentials == Py_None) {
        words = Py_BuildValue("(si)", "HELLO", 3);
    } else if (PyTuple_GET_SIZE(credentials) == 1) {
        words = Py_BuildValue("(sissO)", "HELLO", 3, "AUTH", "default",
                              PyTuple_GET_ITEM(credentials, 0));
    } else {
        words = Py_BuildValue("(sisOO)", "HELLO", 3, "AUTH", PyTuple_GET_ITEM(credentials, 0),
                              PyTuple_GET_ITEM(credentials, 1));
    }
    return say_tuple(conn, STEP_HELLO, words);
}

static int
say_auth(ar_conn *conn, PyObject *credentials)
{
    if (credentials == Py_None) {
        return 0;
    }
    if (conn->password_only && PyTuple_GET_SIZE(credentials) == 2) {
        return say_tuple(conn, STEP_AUTH,
                         Py_BuildValue("(sO)", "AUTH", PyTuple_GET_ITEM(credentials, 1)));
    }
    PyObject *name = PyUnicode_FromString("AUTH");
    PyObject *words = name != NULL ? PyTuple_Pack(1, name) : NULL;
    Py_XDECREF(name);
    if (words != NULL) {
        Py_SETREF(words, PySequence_Concat(words, credentials));
    }
    return say_tuple(conn, STEP_AUTH, words);
}

static void
become_ready(ar_conn *conn)
{
    if (conn->state == AR_CONN_CLOSED) { /* by the credential provider, say */
        return;
    }
    conn->state = AR_CONN_READY;
    ev_timer_stop(conn->core->ev, &conn->timer);
    conn->calls->ready(conn);
}

static void
introduce(ar_conn *conn, PyObject *credentials)
{
    if (conn->state != AR_CONN_HANDSHAKE) { /* the credential provider has closed the client */
        PyErr_Clear();
        return;
    }
    conn->step_count = conn->step_done = 0;
    int result = credentials == NULL ? -1 : check_credentials(credentials);
    if (result == 0) {
        result = conn->protocol == 3 ? say_hello(conn, credentials) : say_auth(conn, credentials);
    }
    if (result < 0 || say_rest(conn) < 0) {
        ar_conn_lose(conn, NULL, 1);
        return;
    }
    if (conn->step_count == 0) {
        become_ready(conn);
    } else {
        ar_conn_flush(conn);
    }
}

void
ar_conn_handshake_start(ar_conn *conn)
{
    if (conn->state == AR_CONN_CLOSED) { /* by a finalizer */
        return;
    }
    conn->state = AR_CONN_HANDSHAKE;
    if (!conn->config->introduce) {
        become_ready(conn);
        return;
    }
    if (conn->config->credentials == Py_None) {
        introduce(conn, Py_None);
        return;
    }
    PyObject *credentials = PyObject_CallNoArgs(conn->config->credentials);
    PyAsyncMethods *protocol = credentials != NULL ? Py_TYPE(credentials)->tp_as_async : NULL;
    if (protocol == NULL || protocol->am_await == NULL) {
        introduce(conn, credentials);
        Py_XDECREF(credentials);
    } else if (ar_conn_wait_for(conn, credentials, introduce) < 0) {
        ar_conn_lose(conn, NULL, 1);
    }
}

/* ---- replies ---- */

static int
text_contains(PyObject *exception, const char *what)
{
    PyObject *text = PyObject_Str(exception);
    const char *utf8 = text != NULL ? PyUnicode_AsUTF8(text) : NULL;
    int found = utf8 != NULL && strstr(utf8, what) != NULL;
    PyErr_Clear();
    Py_XDECREF(text);
    return found;
}

/* A server before Redis 6, or a proxy, that has no HELLO or not protocol 3. */
static int
hello_is_unknown(PyObject *error)
{
    return text_contains(error, "unknown command") || text_contains(error, "NOPROTO") ||
           text_contains(error, "unsupported protocol");
}

static void
note_client_id(ar_conn *conn, int step, PyObject *reply)
{
    PyObject *id = step == STEP_ID ? reply : NULL;
    if (step == STEP_HELLO && PyDict_Check(reply)) {
        PyObject *key = PyBytes_FromString("id");
        id = key != NULL ? PyDict_GetItemWithError(reply, key) : NULL;
        Py_XDECREF(key);
    }
    if (id != NULL && PyLong_Check(id)) {
        conn->client_id = PyLong_AsLongLong(id);
    }
    PyErr_Clear(); /* without it, giving a blocking command up closes the connection */
}

/* Keeps the first error that matters. CLIENT SETINFO and CLIENT ID are unknown to old servers. */
static void
note_error(ar_conn *conn, int step, PyObject *error)
{
    if (step == STEP_HELLO && hello_is_unknown(error)) {
        conn->protocol = 2;
        conn->introduce_again = 1;
    } else if (step == STEP_AUTH && !conn->password_only &&
               text_contains(error, "wrong number of arguments")) {
        conn->password_only = 1; /* before Redis 6 there were no user names */
        conn->introduce_again = 1;
    } else if (step != STEP_SETINFO && step != STEP_ID && conn->handshake_error == NULL) {
        conn->handshake_error = Py_NewRef(error);
    }
}

void
ar_conn_handshake_reply(ar_conn *conn, PyObject *reply)
{
    if (conn->step_done == conn->step_count) {
        Py_DECREF(reply);
        ar_conn_lose(conn,
                     ar_error_format(conn->module_state->InvalidResponse,
                                     "Protocol error: a reply came during the handshake that "
                                     "nothing had asked for"),
                     0);
        return;
    }
    if (PyExceptionInstance_Check(reply)) {
        note_error(conn, conn->steps[conn->step_done], reply);
    } else {
        note_client_id(conn, conn->steps[conn->step_done], reply);
    }
    Py_DECREF(reply);
    conn->step_done++;
    if (conn->step_done < conn->step_count) {
        return;
    }
    if (conn->introduce_again) {
        conn->introduce_again = 0;
        Py_CLEAR(conn->handshake_error);
        ar_conn_handshake_start(conn);
        return;
    }
    if (conn->handshake_error != NULL) {
        PyObject *error = conn->handshake_error;
        conn->handshake_error = NULL;
        ar_conn_lose(conn, error, !ar_error_is_passing(conn->module_state, error));
        return;
    }
    become_ready(conn);
}
