export DIB_CUDA_REPOSITORY=${DIB_CUDA_REPOSITORY:-https://developer.download.nvidia.com/compute/cuda/repos}
