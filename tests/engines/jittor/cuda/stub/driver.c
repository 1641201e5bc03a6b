// NVIDIA's driver and its management library, for one GPU that is not there.

#include <stdlib.h>
#include <string.h>

// The GPUs' compute capabilities times ten, separated by blanks; one a GPU.
static int architecture(int device) {
    const char* given = getenv("CUDA_STUB_ARCHITECTURES");
    char* rest = (char*)(given ? given : "90");
    long found = 0;
    for (int i = 0; i <= device; i++) found = strtol(rest, &rest, 10);
    return (int)found;
}

static int count_devices(void) {
    int count = 0;
    while (architecture(count)) count++;
    return count;
}

static int cuda(void) { return 13000; }

int cuInit(unsigned flags) { (void)flags; return 0; }
int cuDriverGetVersion(int* version) { *version = cuda(); return 0; }
int cuDeviceGetCount(int* count) { *count = count_devices(); return 0; }
int cuDeviceGet(void** device, int index) { *device = (void*)(long)index; return 0; }
int cuDeviceGetAttribute(int* value, int attribute, void* device) {
    const int number = architecture((int)(long)device);
    *value = attribute == 75 ? number / 10 : number % 10;
    return 0;
}

int nvmlInit_v2(void) { return 0; }
int nvmlInitWithFlags(unsigned flags) { (void)flags; return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned* count) { *count = count_devices(); return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
    *device = (void*)(long)index;
    return 0;
}
int nvmlSystemGetCudaDriverVersion_v2(int* version) { *version = cuda(); return 0; }
int nvmlSystemGetDriverVersion(char* version, unsigned length) {
    strncpy(version, "580.0 (a stub)", length);
    return 0;
}
int nvmlDeviceGetCudaComputeCapability(void* device, int* major, int* minor) {
    const int number = architecture((int)(long)device);
    *major = number / 10;
    *minor = number % 10;
    return 0;
}
// total, free and used bytes
int nvmlDeviceGetMemoryInfo(void* device, unsigned long long* memory) {
    (void)device;
    memory[0] = memory[1] = 80ull << 30;
    memory[2] = 0;
    return 0;
}
int nvmlDeviceGetName(void* device, char* name, unsigned length) {
    (void)device;
    strncpy(name, "a stub of a GPU", length);
    return 0;
}
