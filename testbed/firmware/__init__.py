"""Validate, render and apply what a Pluto board needs: config.txt, U-Boot variables, FIR filters."""
