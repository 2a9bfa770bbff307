"""The native library of isx: what it needs, whether it loads, and if not, why. The build and every run ask here.

Standard library only. The builder stages of the Dockerfile mount this folder.
"""
