/* The module's identity, by which its types find its state. */
#ifndef AR_MODULE_H
#define AR_MODULE_H

#include "state.h"

extern PyModuleDef ar_module_definition;

#endif
