/* Certificate and host name are verified unless the user says otherwise. */
#include "tls.h"

#include "hiredis_ssl.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

struct ar_tls {
    SSL_CTX *context;
    int check_hostname;
};

/* Sets ConnectionError "TLS: <what> '<value>': <OpenSSL's reason>". */
static void
set_error(ar_state *state, const char *what, const char *value)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    PyObject *exception = ar_error_format(state->ConnectionError, "TLS: %s '%s': %s", what, value,
                                          reason != NULL ? reason : "OpenSSL gives no reason");
    ERR_clear_error();
    if (exception != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
        Py_DECREF(exception);
    }
}

/* As the user gave them: text is borrowed, NULL for None and for what is absent. */
typedef struct {
    const char *cafile, *capath, *cadata;
    const char *certfile, *keyfile, *password;
    const char *ciphers;
    long verify, check_hostname, min_version, verify_flags;
} settings;

static int
read_text(PyObject *options, const char *name, const char **text)
{
    PyObject *value = PyDict_GetItemString(options, name);
    if (value != NULL && value != Py_None) {
        *text = PyUnicode_AsUTF8(value);
        return *text == NULL ? -1 : 0;
    }
    return 0;
}

static int
read_number(PyObject *options, const char *name, long *number)
{
    PyObject *value = PyDict_GetItemString(options, name);
    if (value != NULL && value != Py_None) {
        *number = PyLong_AsLong(value);
        return *number == -1 && PyErr_Occurred() ? -1 : 0;
    }
    return 0;
}

static int
read_settings(PyObject *options, settings *read)
{
    *read = (settings){.verify = 2, .check_hostname = 1, .min_version = TLS1_2_VERSION};
    if (read_text(options, "cafile", &read->cafile) < 0 ||
        read_text(options, "capath", &read->capath) < 0 ||
        read_text(options, "cadata", &read->cadata) < 0 ||
        read_text(options, "certfile", &read->certfile) < 0 ||
        read_text(options, "keyfile", &read->keyfile) < 0 ||
        read_text(options, "password", &read->password) < 0 ||
        read_text(options, "ciphers", &read->ciphers) < 0 ||
        read_number(options, "verify", &read->verify) < 0 ||
        read_number(options, "check_hostname", &read->check_hostname) < 0 ||
        read_number(options, "min_version", &read->min_version) < 0 ||
        read_number(options, "verify_flags", &read->verify_flags) < 0) {
        return -1;
    }
    return 0;
}

static int
add_ca_data(SSL_CTX *context, const char *pem)
{
    BIO *source = BIO_new_mem_buf(pem, -1);
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    int count = 0;
    X509 *certificate;
    if (source == NULL) {
        return -1;
    }
    while ((certificate = PEM_read_bio_X509(source, NULL, NULL, NULL)) != NULL) {
        count += X509_STORE_add_cert(store, certificate) == 1;
        X509_free(certificate);
    }
    BIO_free(source);
    if (count > 0) {
        ERR_clear_error(); /* the end of the data reads as "no start line" */
    }
    return count > 0 ? 0 : -1;
}

static int
load_authorities(ar_state *state, SSL_CTX *context, const settings *wanted)
{
    const char *file = wanted->cafile, *path = wanted->capath, *data = wanted->cadata;
    if (file != NULL && SSL_CTX_load_verify_locations(context, file, NULL) != 1) {
        set_error(state, "cannot load the CA certificates (ssl_ca_certs)", file);
        return -1;
    }
    if (path != NULL && SSL_CTX_load_verify_locations(context, NULL, path) != 1) {
        set_error(state, "cannot use the CA folder (ssl_ca_path)", path);
        return -1;
    }
    if (data != NULL && add_ca_data(context, data) < 0) {
        set_error(state, "no certificate could be read from", "ssl_ca_data");
        return -1;
    }
    if (file == NULL && path == NULL && data == NULL &&
        SSL_CTX_set_default_verify_paths(context) != 1) {
        set_error(state, "cannot load", "the system's CA certificates");
        return -1;
    }
    return 0;
}

static int
give_password(char *buffer, int size, int Py_UNUSED(writing), void *password)
{
    size_t length = strlen(password);
    if (length > (size_t)size) {
        return 0;
    }
    memcpy(buffer, password, length);
    return (int)length;
}

/* Without a password OpenSSL would ask on the terminal. */
static int
give_no_password(char *Py_UNUSED(buffer), int Py_UNUSED(size), int Py_UNUSED(writing),
                 void *Py_UNUSED(password))
{
    return 0;
}

static int
load_certificate(ar_state *state, SSL_CTX *context, const settings *wanted)
{
    const char *certificate = wanted->certfile, *password = wanted->password;
    const char *key = wanted->keyfile != NULL ? wanted->keyfile : certificate;
    if (certificate == NULL) {
        return 0;
    }
    SSL_CTX_set_default_passwd_cb(context, password != NULL ? give_password : give_no_password);
    SSL_CTX_set_default_passwd_cb_userdata(context, (void *)password);
    int result = 0;
    if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1) {
        set_error(state, "cannot load the client certificate (ssl_certfile)", certificate);
        result = -1;
    } else if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
        set_error(state, "cannot load the private key (ssl_keyfile)", key);
        result = -1;
    }
    /* The password belongs to the caller; keep no pointer to it. */
    SSL_CTX_set_default_passwd_cb_userdata(context, NULL);
    SSL_CTX_set_default_passwd_cb(context, give_no_password);
    return result;
}

static int
configure_context(ar_state *state, SSL_CTX *context, const settings *wanted)
{
    if (SSL_CTX_set_min_proto_version(context, (int)wanted->min_version) != 1) {
        set_error(state, "cannot set", "ssl_min_version");
        return -1;
    }
    if (wanted->ciphers != NULL && SSL_CTX_set_cipher_list(context, wanted->ciphers) != 1) {
        set_error(state, "no cipher matches (ssl_ciphers)", wanted->ciphers);
        return -1;
    }
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context), (unsigned long)wanted->verify_flags);
    /* "optional" is a server's setting; a client that verifies at all verifies for good. */
    SSL_CTX_set_verify(context, wanted->verify > 0 ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (wanted->verify > 0 && load_authorities(state, context, wanted) < 0) {
        return -1;
    }
    return load_certificate(state, context, wanted);
}

int
ar_tls_is_address(const char *host)
{
    unsigned char address[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

ar_tls *
ar_tls_new(ar_state *state, PyObject *options)
{
    settings wanted;
    if (read_settings(options, &wanted) < 0) {
        return NULL;
    }
    ar_tls *tls = PyMem_Calloc(1, sizeof(*tls));
    if (tls == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    tls->context = SSL_CTX_new(TLS_client_method());
    if (tls->context == NULL) {
        PyErr_NoMemory();
        goto error;
    }
    tls->check_hostname = wanted.verify > 0 && wanted.check_hostname;
    if (configure_context(state, tls->context, &wanted) < 0) {
        goto error;
    }
    return tls;

error:
    ar_tls_free(tls);
    return NULL;
}

void
ar_tls_free(ar_tls *tls)
{
    if (tls != NULL) {
        SSL_CTX_free(tls->context);
        PyMem_Free(tls);
    }
}

static int
expect_host(SSL *session, const char *host)
{
    X509_VERIFY_PARAM *expected = SSL_get0_param(session);
    if (ar_tls_is_address(host)) {
        return X509_VERIFY_PARAM_set1_ip_asc(expected, host);
    }
    X509_VERIFY_PARAM_set_hostflags(expected, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return X509_VERIFY_PARAM_set1_host(expected, host, 0);
}

SSL *
ar_tls_start(const ar_tls *tls, redisContext *context, const char *host)
{
    const char *name = host != NULL ? host : "localhost";
    SSL *session = SSL_new(tls->context);
    if (session == NULL) {
        return NULL;
    }
    if ((!ar_tls_is_address(name) && SSL_set_tlsext_host_name(session, name) != 1) ||
        (tls->check_hostname && expect_host(session, name) != 1) ||
        redisInitiateSSL(context, session) != REDIS_OK) {
        SSL_free(session);
        return NULL;
    }
    return session;
}

void
ar_tls_reason(SSL *session, char *buffer, size_t size)
{
    long verdict = SSL_get_verify_result(session);
    unsigned long code = ERR_peek_last_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    if (verdict != X509_V_OK) {
        snprintf(buffer, size, "certificate verify failed: %s",
                 X509_verify_cert_error_string(verdict));
    } else {
        snprintf(buffer, size, "TLS: %s", reason != NULL ? reason : "connection closed by peer");
    }
    ERR_clear_error();
}

const char *
ar_tls_library_version(void)
{
    return OpenSSL_version(OPENSSL_VERSION);
}
