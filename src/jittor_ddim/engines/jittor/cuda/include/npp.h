// The limits that Jittor's kernels take from NVIDIA's image library, of which they use nothing else.
#pragma once
#include <cfloat>
#include <climits>

#define NPP_MINABS_32F FLT_MIN
#define NPP_MAXABS_32F FLT_MAX
#define NPP_MINABS_64F DBL_MIN
#define NPP_MAXABS_64F DBL_MAX
#define NPP_MIN_8S SCHAR_MIN
#define NPP_MAX_8S SCHAR_MAX
#define NPP_MAX_8U UCHAR_MAX
#define NPP_MIN_16S SHRT_MIN
#define NPP_MAX_16S SHRT_MAX
#define NPP_MAX_16U USHRT_MAX
#define NPP_MIN_32S INT_MIN
#define NPP_MAX_32S INT_MAX
#define NPP_MIN_32U 0
#define NPP_MAX_32U UINT_MAX
#define NPP_MIN_64S LLONG_MIN
#define NPP_MAX_64S LLONG_MAX
#define NPP_MIN_64U 0
#define NPP_MAX_64U ULLONG_MAX
