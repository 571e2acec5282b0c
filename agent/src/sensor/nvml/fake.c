/* The part of NVML that the tests need: two GPUs, the second without an energy counter. The first counts one joule more
 * each time it is asked, and is lost after the tenth. */
#include <stdio.h>
#include <string.h>

typedef int nvmlReturn_t;
typedef int *nvmlDevice_t;

static int devices[2] = {0, 1};
static unsigned long long millijoules = 5000000000000ULL;
static int asked = 0;

nvmlReturn_t nvmlInit_v2(void) { return 0; }
nvmlReturn_t nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(nvmlReturn_t result) { (void)result; return "a mistake"; }

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count) { *count = 2; return 0; }

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device) {
    if (index > 1) return 2; /* NVML_ERROR_INVALID_ARGUMENT */
    *device = &devices[index];
    return 0;
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device) {
    if (strcmp(uuid, "GPU-0") != 0 && strcmp(uuid, "GPU-1") != 0) return 6; /* NVML_ERROR_NOT_FOUND */
    *device = &devices[uuid[4] - '0'];
    return 0;
}

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned int *index) { *index = *device; return 0; }

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length) {
    snprintf(name, length, "Fake %d", *device);
    return 0;
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length) {
    snprintf(uuid, length, "GPU-%d", *device);
    return 0;
}

nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t device, unsigned long long *energy) {
    if (*device == 1) return 3; /* NVML_ERROR_NOT_SUPPORTED */
    if (++asked > 10) return 15; /* NVML_ERROR_GPU_IS_LOST */
    *energy = millijoules += 1000;
    return 0;
}
