from programs.published.shelf import *
