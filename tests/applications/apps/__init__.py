"""Small applications, one a file, as users write them: real SDKs, real model names, placeholder keys."""
