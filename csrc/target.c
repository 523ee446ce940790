/* Falling back to redis-py's own methods, and telling when that is due. */
#include "target.h"

#include "module.h"

#include <string.h>

ar_state *
ar_state_of_type(PyTypeObject *type)
{
    PyObject *mro = type->tp_mro;
    for (Py_ssize_t i = 0; mro != NULL && i < PyTuple_GET_SIZE(mro); i++) {
        PyTypeObject *base = (PyTypeObject *)PyTuple_GET_ITEM(mro, i);
        if (!PyType_HasFeature(base, Py_TPFLAGS_HEAPTYPE)) {
            continue;
        }
        PyObject *module = ((PyHeapTypeObject *)base)->ht_module;
        if (module != NULL && PyModule_GetDef(module) == &ar_module_definition) {
            return PyModule_GetState(module);
        }
    }
    PyErr_Format(PyExc_TypeError, "%s is no type of aiecs_redis", type->tp_name);
    return NULL;
}

PyObject *
ar_target_fall_back(ArTarget *self, PyObject *name, PyObject *const *args, Py_ssize_t nargs,
                    PyObject *kwnames)
{
    PyObject *subject = ar_target_subject(self);
    PyObject *method = subject != NULL ? PyObject_GetAttr(self->python_class, name) : NULL;
    if (method == NULL) {
        Py_XDECREF(subject);
        return NULL;
    }
    Py_ssize_t keywords = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    PyObject **arguments = PyMem_Malloc((size_t)(nargs + keywords + 1) * sizeof(PyObject *));
    if (arguments == NULL) {
        Py_DECREF(method);
        Py_DECREF(subject);
        return PyErr_NoMemory();
    }
    arguments[0] = subject;
    if (nargs + keywords > 0) {
        memcpy(arguments + 1, args, (size_t)(nargs + keywords) * sizeof(PyObject *));
    }
    PyObject *result = PyObject_Vectorcall(method, arguments, (size_t)nargs + 1, kwnames);
    PyMem_Free(arguments);
    Py_DECREF(method);
    Py_DECREF(subject);
    return result;
}

PyObject *
ar_target_subject(ArTarget *self)
{
    if (self->face == NULL) {
        return Py_NewRef((PyObject *)self);
    }
    PyObject *subject = ar_weakref_get(self->face);
    if (subject == NULL) {
        PyErr_SetString(PyExc_ReferenceError, "the client is gone");
    }
    return subject;
}

int
ar_target_set_face(ArTarget *self, PyObject *face, PyObject *python_class, PyObject *method)
{
    PyObject *reference = PyWeakref_NewRef(face, NULL);
    if (reference == NULL) {
        return -1;
    }
    Py_XSETREF(self->face, reference);
    Py_XSETREF(self->face_class, Py_NewRef((PyObject *)Py_TYPE(face)));
    Py_XSETREF(self->native_method, Py_NewRef(method));
    self->python_class = python_class; /* lives as long as redis-py does */
    return ar_target_check_override(self);
}

int
ar_target_traverse(ArTarget *self, visitproc visit, void *arg)
{
    Py_VISIT(self->native_method);
    Py_VISIT(self->face);
    Py_VISIT(self->face_class);
    return 0;
}

void
ar_target_clear(ArTarget *self)
{
    Py_CLEAR(self->native_method);
    Py_CLEAR(self->face);
    Py_CLEAR(self->face_class);
}

/* Whether the instance has an attribute of its own of that name; -1 with an exception set. */
static int
face_overrides(ArTarget *self, PyObject *name)
{
    PyObject *subject = ar_target_subject(self);
    PyObject *dict = subject != NULL ? PyObject_GenericGetDict(subject, NULL) : NULL;
    Py_XDECREF(subject);
    if (dict == NULL) {
        PyErr_Clear(); /* it is gone, or has no attributes of its own */
        return 0;
    }
    int found = PyDict_Contains(dict, name);
    Py_DECREF(dict);
    return found;
}

int
ar_target_check_override(ArTarget *self)
{
    PyObject *name = self->state->str_execute_command;
    PyTypeObject *class = ar_target_class(self);
    PyObject *method = PyObject_GetAttr((PyObject *)class, name);
    if (method == NULL) {
        return -1;
    }
    self->class_version = class->tp_version_tag;
    int overridden = method != self->native_method;
    Py_DECREF(method);
    if (!overridden && self->face != NULL) {
        overridden = face_overrides(self, name);
    } else if (!overridden) {
        PyObject **dict = _PyObject_GetDictPtr((PyObject *)self);
        if (dict != NULL && *dict != NULL) {
            overridden = PyDict_Contains(*dict, name);
        }
    }
    self->overridden = overridden != 0;
    return overridden < 0 ? -1 : 0;
}
