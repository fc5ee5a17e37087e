class MaximumLengthValidator:
    pass
