// NVIDIA's driver and its management library, for one GPU that is not there.

#include <stdlib.h>
#include <string.h>

static int number(const char* name, int usual) {
    const char* given = getenv(name);
    return given ? atoi(given) : usual;
}

static int architecture(void) { return number("CUDA_STUB_ARCHITECTURE", 90); }
static int cuda(void) { return number("CUDA_STUB_DRIVER", 13000); }

int cuInit(unsigned flags) { (void)flags; return 0; }
int cuDriverGetVersion(int* version) { *version = cuda(); return 0; }
int cuDeviceGetCount(int* count) { *count = 1; return 0; }
int cuDeviceGet(int* device, int index) { *device = index; return 0; }
int cuDeviceGetAttribute(int* value, int attribute, int device) {
    (void)device;
    *value = attribute == 75 ? architecture() / 10 : architecture() % 10;
    return 0;
}

int nvmlInit_v2(void) { return 0; }
int nvmlInitWithFlags(unsigned flags) { (void)flags; return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned* count) { *count = 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
    (void)index;
    *device = device;
    return 0;
}
int nvmlSystemGetCudaDriverVersion_v2(int* version) { *version = cuda(); return 0; }
int nvmlSystemGetDriverVersion(char* version, unsigned length) {
    strncpy(version, cuda() >= 13000 ? "580.0 (a stub)" : "550.0 (a stub)", length);
    return 0;
}
int nvmlDeviceGetCudaComputeCapability(void* device, int* major, int* minor) {
    (void)device;
    *major = architecture() / 10;
    *minor = architecture() % 10;
    return 0;
}
int nvmlDeviceGetName(void* device, char* name, unsigned length) {
    (void)device;
    strncpy(name, "a stub of a GPU", length);
    return 0;
}
