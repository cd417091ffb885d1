from programs.published.shares import *
