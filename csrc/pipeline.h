/* _native.Pipeline: the C base of aiecs_redis.Pipeline. */
#ifndef AR_PIPELINE_H
#define AR_PIPELINE_H

#include "target.h"

int ar_pipeline_setup(PyObject *module, ar_state *state);

#endif
